import ajvCompiler from '@fastify/ajv-compiler'

const buildCompiler = ajvCompiler()
type Compile = ReturnType<typeof buildCompiler>

/**
 * Fastify's own compiler of schemas, which compiles the schema of a route at the first request that needs it. Compiling
 * all of them took a fifth of the processor time of a start. A schema with a mistake is therefore found by its first
 * request; the contract's test asks every route.
 */
export function lazyValidators(...pool: Parameters<typeof buildCompiler>): Compile {
  let compile: Compile | undefined
  return (schema, meta) => {
    let compiled: ReturnType<Compile> | undefined
    const validate = ((data: unknown) => {
      compile ??= buildCompiler(...pool)
      compiled ??= compile(schema, meta)
      const valid = compiled(data)
      // Fastify reads the mistakes from the function that it has called.
      validate.errors = compiled.errors ?? null
      return valid
    }) as ReturnType<Compile>
    return validate
  }
}
