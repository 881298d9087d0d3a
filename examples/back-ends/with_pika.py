# Warns of hot rooms, with pika: python3 with_pika.py
import json
import os

import pika

url = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672")
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()

# A queue of our own. What the hub gets while this program is away waits in it.
queue = "warnings.pika"
channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
channel.queue_bind(queue, "telehub.telemetry", "home.*.*.telemetry")
channel.basic_qos(prefetch_count=100)


def handle(channel, method, properties, body):
    try:
        reading = json.loads(body)
        temperature = reading.get("temperature")
        if temperature is not None and temperature > 30:
            room = properties.headers["mqtt-topic"].split("/")[1]
            # With confirms this returns when RabbitMQ has the message, and raises when it has not.
            channel.basic_publish(
                "telehub.publish",
                f"warnings.pika.{room}",
                json.dumps({"room": room, "temperature": temperature}),
                pika.BasicProperties(delivery_mode=2, headers={"mqtt-qos": 1, "mqtt-retain": True}),
            )
        channel.basic_ack(method.delivery_tag)
    except (ValueError, AttributeError, TypeError) as error:
        print(error, flush=True)
        channel.basic_nack(method.delivery_tag, requeue=False)


channel.basic_consume(queue, handle)
print("ready", flush=True)
channel.start_consuming()
