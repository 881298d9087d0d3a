import { Component } from 'preact'

/** A component that is drawn again only when one of the properties is another one. */
export abstract class Pure<Properties extends object> extends Component<Properties> {
  override shouldComponentUpdate(next: Properties): boolean {
    const before = this.props as Record<string, unknown>
    return Object.entries(next).some(([name, value]) => before[name] !== value)
  }
}
