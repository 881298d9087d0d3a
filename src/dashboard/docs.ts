/* The page on which the API can be read and tried: Swagger UI, of which the hub serves the files as the package ships them. */

/** Options of Swagger UI that are used here. */
interface SwaggerOptions {
  readonly url: string
  readonly domNode: HTMLElement
  readonly deepLinking: boolean
  readonly tryItOutEnabled: boolean
  readonly defaultModelsExpandDepth: number
  readonly docExpansion: 'list' | 'full' | 'none'
  /** null: the description is not sent to a validator on the internet. */
  readonly validatorUrl: null
}

declare const SwaggerUIBundle: (options: SwaggerOptions) => unknown

const domNode = document.getElementById('api') as HTMLElement
SwaggerUIBundle({
  url: '/api/openapi.json',
  domNode,
  deepLinking: true,
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
  docExpansion: 'list',
  validatorUrl: null,
})
