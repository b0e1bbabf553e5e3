"""Records as Confluent's own serializers write them.

    produce.py BOOTSTRAP REGISTRY

Each line of input is a JSON object, and one record: "topic", "partition" (0), "key"
and "value" (null or missing: none), for each of the two "_schema" (text of an Avro
schema; without one the text is written as it is), "_subject" (that of the topic),
"_references" ([name, subject, version] each) and "_ids", which says where the id of
the schema goes: "payload", "header" (a GUID), or "header_id" (a number in the header,
which Confluent's readers take too).  Its answer is a line, when Kafka has the record:
{"offset", "key_id", "value_id"}, or {"error"}.  Schemas are registered when they are
used first, and looked up no more after that.

What JSON has no word for is an object with one member: {"$bytes": "00ff"},
{"$decimal": "1.50"}, {"$date": "2024-02-29"}, {"$time": "03:04:05.678"}, {"$timestamp":
"2024-02-29T03:04:05.678+00:00"}, {"$uuid": "..."}, {"$float": "nan"}.  The member
"-type" of a record chooses the branch of a union.
"""
import datetime
import decimal
import json
import sys
import uuid

from confluent_kafka import Producer
from confluent_kafka.schema_registry import (
    Schema, SchemaReference, SchemaRegistryClient, header_schema_id_serializer,
    prefix_schema_id_serializer)
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

WORDS = {
    "$bytes": bytes.fromhex,
    "$decimal": decimal.Decimal,
    "$date": datetime.date.fromisoformat,
    "$time": datetime.time.fromisoformat,
    "$timestamp": datetime.datetime.fromisoformat,
    "$uuid": uuid.UUID,
    "$float": float,
}


def word(members):
    """What an object of one member stands for."""
    if len(members) == 1:
        (name, value), = members.items()
        if name in WORDS:
            return WORDS[name](value)
    return members


class Ids:
    """Where a serializer puts the id of the schema; which one it was stays here."""

    def __init__(self, where):
        self.where = where
        self.last = None

    def __call__(self, payload, ctx, schema_id):
        self.last = schema_id.id
        if self.where == "payload":
            return prefix_schema_id_serializer(payload, ctx, schema_id)
        if self.where == "header":
            return header_schema_id_serializer(payload, ctx, schema_id)
        name = "__key_schema_id" if ctx.field == MessageField.KEY else "__value_schema_id"
        ctx.headers.append((name, schema_id.id_to_bytes()))
        return payload


class Records:
    def __init__(self, bootstrap, registry):
        self.producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        self.registry = SchemaRegistryClient({"url": registry})
        self.serializers = {}

    def serializer(self, subject, schema, references, where):
        key = json.dumps([subject, schema, references, where])
        if key not in self.serializers:
            ids = Ids(where)
            self.serializers[key] = ids, AvroSerializer(
                self.registry,
                Schema(schema, "AVRO", [SchemaReference(*r) for r in references]),
                conf={"subject.name.strategy": lambda ctx, name: subject, "schema.id.serializer": ids})
        return self.serializers[key]

    def bytes_of(self, record, part, headers):
        """The bytes of the key or the value, and the schema's id."""
        value = record.get(part)
        schema = record.get(part + "_schema")
        if value is None or schema is None:
            return value, None
        ids, serializer = self.serializer(
            record.get(part + "_subject", "%s-%s" % (record["topic"], part)), schema,
            record.get(part + "_references", []), record.get(part + "_ids", "payload"))
        return serializer(value, SerializationContext(record["topic"], part, headers)), ids.last

    def produce(self, record):
        answer = {}
        headers = []
        key, answer["key_id"] = self.bytes_of(record, "key", headers)
        value, answer["value_id"] = self.bytes_of(record, "value", headers)

        def delivered(error, message):
            if error is not None:
                answer["error"] = str(error)
            else:
                answer["offset"] = message.offset()

        self.producer.produce(record["topic"], key=key, value=value, headers=headers,
                              partition=record.get("partition", 0), on_delivery=delivered)
        self.producer.flush()
        return answer


def main():
    records = Records(*sys.argv[1:])
    for line in sys.stdin:
        try:
            answer = records.produce(json.loads(line, object_hook=word))
        except Exception as error:  # whatever it is, the other side is to know
            answer = {"error": "%s: %s" % (type(error).__name__, error)}
        print(json.dumps(answer), flush=True)


main()
