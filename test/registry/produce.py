"""Records as Confluent's own serializers write them.

    produce.py BOOTSTRAP REGISTRY

Each line of input is a JSON object, and one record: "topic", "partition" (0), "key"
and "value" (null or missing: none), for each of the two "_schema" (text of a
schema; without one the text is written as it is), "_type" (AVRO, or JSON), "_subject" (that of the topic),
"_references" ([name, subject, version] each) and "_ids", which says where the id of
the schema goes: "payload", "header" (a GUID), or "header_id" (a number in the header,
which Confluent's readers take too).  With "_message" it is Protobuf: the full name of
a message in "_files", which are texts of .proto files by the names that they import each
other by; "_schema" is not given.  The value is as Protobuf's JSON has it.  With
"_descriptors" the registry gets what the serializer makes of the texts.  Its answer is a line, when Kafka has the record:
{"offset", "key_id", "value_id"}, or {"error"}.  Schemas are registered when they are
used first, and looked up no more after that.

What JSON has no word for is an object with one member: {"$bytes": "00ff"},
{"$decimal": "1.50"}, {"$date": "2024-02-29"}, {"$time": "03:04:05.678"}, {"$timestamp":
"2024-02-29T03:04:05.678+00:00"}, {"$uuid": "..."}, {"$float": "nan"}.  The member
"-type" of a record chooses the branch of a union.
"""
import base64
import datetime
import decimal
import json
import os
import sys
import tempfile
import uuid

from confluent_kafka import Producer
from confluent_kafka.schema_registry import (
    Schema, SchemaReference, SchemaRegistryClient, header_schema_id_serializer,
    prefix_schema_id_serializer)
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
import grpc_tools
from grpc_tools import protoc

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


class Texts(SchemaRegistryClient):
    """A registry that has the texts of .proto files.

    The serializer registers what protoc makes of them; Confluent's registry answers with
    a text, others with what they were given.
    """

    files = {}

    def text_of(self, schema):
        if schema.schema_type != "PROTOBUF":
            return schema
        file = descriptor_pb2.FileDescriptorProto.FromString(base64.standard_b64decode(schema.schema_str))
        return Schema(self.files[file.name], "PROTOBUF", schema.references)

    def register_schema_full_response(self, subject_name, schema, **conf):
        return super().register_schema_full_response(subject_name, self.text_of(schema), **conf)

    def register_schema(self, subject_name, schema, **conf):
        return self.register_schema_full_response(subject_name, schema, **conf).schema_id

    def lookup_schema(self, subject_name, schema, **conf):
        return super().lookup_schema(subject_name, self.text_of(schema), **conf)


def compile_message(files, name):
    """The class of a message of .proto files."""
    with tempfile.TemporaryDirectory() as folder:
        for file, text in files.items():
            path = os.path.join(folder, file)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as handle:
                handle.write(text)
        output = os.path.join(folder, "descriptors")
        known = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
        if protoc.main(["protoc", "-I" + folder, "-I" + known, "--include_imports",
                        "--descriptor_set_out=" + output, *files]) != 0:
            raise ValueError("protoc refuses the files")
        with open(output, "rb") as handle:
            descriptors = descriptor_pb2.FileDescriptorSet.FromString(handle.read())
    pool = descriptor_pool.DescriptorPool()
    for file in descriptors.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


class Records:
    def __init__(self, bootstrap, registry):
        self.producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "enable.idempotence": True})
        self.registry = Texts({"url": registry})
        self.plain = SchemaRegistryClient({"url": registry})
        self.serializers = {}
        self.messages = {}

    def serializer(self, subject, schema, kind, references, where):
        key = json.dumps([subject, schema, kind, references, where])
        if key not in self.serializers:
            ids = Ids(where)
            of_kind = Schema(schema, kind, [SchemaReference(*r) for r in references])
            conf = {"subject.name.strategy": lambda ctx, name: subject, "schema.id.serializer": ids}
            self.serializers[key] = ids, (
                JSONSerializer(of_kind, self.registry, conf=conf) if kind == "JSON" else
                AvroSerializer(self.registry, of_kind, conf=conf))
        return self.serializers[key]

    def message(self, files, name):
        key = json.dumps([files, name])
        if key not in self.messages:
            self.messages[key] = compile_message(files, name)
        return self.messages[key]

    def protobuf_serializer(self, subject, files, message, where, descriptors):
        key = json.dumps([subject, files, message.DESCRIPTOR.full_name, where, descriptors])
        if key not in self.serializers:
            ids = Ids(where)
            self.serializers[key] = ids, ProtobufSerializer(
                message, self.plain if descriptors else self.registry,
                conf={"subject.name.strategy": lambda ctx, name: subject, "schema.id.serializer": ids})
        return self.serializers[key]

    def protobuf_bytes_of(self, record, part, headers):
        files = dict(record[part + "_files"])
        message = self.message(files, record[part + "_message"])
        self.registry.files = files
        ids, serializer = self.protobuf_serializer(
            record.get(part + "_subject", "%s-%s" % (record["topic"], part)), files, message,
            record.get(part + "_ids", "payload"), record.get(part + "_descriptors", False))
        value = json_format.ParseDict(record[part], message())
        return serializer(value, SerializationContext(record["topic"], part, headers)), ids.last

    def bytes_of(self, record, part, headers):
        """The bytes of the key or the value, and the schema's id."""
        value = record.get(part)
        if value is not None and record.get(part + "_message") is not None:
            return self.protobuf_bytes_of(record, part, headers)
        schema = record.get(part + "_schema")
        if value is None or schema is None:
            return value, None
        ids, serializer = self.serializer(
            record.get(part + "_subject", "%s-%s" % (record["topic"], part)), schema,
            record.get(part + "_type", "AVRO"), record.get(part + "_references", []), record.get(part + "_ids", "payload"))
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
