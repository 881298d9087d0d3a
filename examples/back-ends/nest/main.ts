// Warns of hot rooms, as a NestJS microservice: npx tsc -p nest && node nest/dist/main.js
import 'reflect-metadata'
import { Controller, Inject, Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import {
  type ClientProxy,
  ClientsModule,
  Ctx,
  EventPattern,
  type MicroserviceOptions,
  Payload,
  type RmqContext,
  RmqRecord,
  RmqRecordBuilder,
  Transport,
} from '@nestjs/microservices'
import { lastValueFrom } from 'rxjs'

const { RABBITMQ_URL = 'amqp://guest:guest@127.0.0.1:5672' } = process.env

/** The payload as it is, where Nest expects {pattern, data}: the pattern is the topic with dots, as the routing key. */
const fromTelehub = {
  deserialize: (data: unknown, { headers }: { headers: Record<string, string> }) => ({
    pattern: headers['mqtt-topic']?.replaceAll('/', '.') ?? '',
    data,
  }),
}

/** The data alone, where Nest sends {pattern, data}. */
const toTelehub = {
  serialize: ({ data }: { data: unknown }) =>
    data instanceof RmqRecord ? { ...data.data, options: data.options } : { ...(data as object) },
}

@Controller()
class Warnings {
  @Inject('TELEHUB')
  private readonly telehub!: ClientProxy

  @EventPattern('home.*.*.telemetry')
  async warn(@Payload() { temperature }: { temperature?: number }, @Ctx() context: RmqContext): Promise<void> {
    const message = context.getMessage()
    if (temperature !== undefined && temperature > 30) {
      const room = message.fields.routingKey.split('.')[1]
      // Nest's type allows texts alone; AMQP has numbers and booleans, and the hub takes these.
      const headers = { 'mqtt-qos': 1, 'mqtt-retain': true } as unknown as Record<string, string>
      const warning = new RmqRecordBuilder({ room, temperature }).setOptions({ headers }).build()
      // Resolves when RabbitMQ has confirmed.
      await lastValueFrom(this.telehub.emit(`warnings.nest.${room}`, warning), { defaultValue: undefined })
    }
    context.getChannelRef().ack(message)
  }
}

@Module({
  imports: [
    ClientsModule.register([
      {
        name: 'TELEHUB',
        transport: Transport.RMQ,
        options: {
          urls: [RABBITMQ_URL],
          exchange: 'telehub.publish',
          wildcards: true,
          persistent: true,
          serializer: toTelehub,
        },
      },
    ]),
  ],
  controllers: [Warnings],
})
class WarningsModule {}

const service = await NestFactory.createMicroservice<MicroserviceOptions>(WarningsModule, {
  transport: Transport.RMQ,
  options: {
    urls: [RABBITMQ_URL],
    queue: 'warnings.nest',
    queueOptions: { durable: true, arguments: { 'x-queue-type': 'quorum' } },
    exchange: 'telehub.telemetry',
    wildcards: true,
    noAck: false,
    prefetchCount: 100,
    deserializer: fromTelehub,
  },
})
service.enableShutdownHooks()
await service.listen()
console.log('ready')
