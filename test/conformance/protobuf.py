"""Random .proto texts, and messages by them, which the decoder must tell as Python does.

    protobuf.py SEED TEXTS PROGRAM

protoc says whether a text is one, Python's protobuf writes messages and reads what
has become of them: two of them behind each other, which are one, with fields that the
text does not have, with wrong bytes, or cut off.  PROGRAM is protobuf.c's.
"""
import base64
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile

import grpc_tools
from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message
from google.protobuf import message_factory
from google.protobuf import unknown_fields
from grpc_tools import protoc

NAMES = ["A", "B", "a", "b", "x_y"]
SCALARS = ["double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes", "uint32",
           "sfixed32", "sfixed64", "sint32", "sint64"]
KEYS = ["int32", "uint64", "sint64", "sfixed32", "bool", "string"]
KNOWN_TO_ALL = 'import "google/protobuf/wrappers.proto";\n'

rng = random.Random(int(sys.argv[1]))


# --- texts ---

class Text:
    def __init__(self):
        self.syntax = rng.choice(["proto2", "proto3", "2023"])
        self.names = 0

    def name(self, prefix):
        self.names += 1
        return rng.choice(NAMES) if rng.random() < 0.15 else "%s%d" % (prefix, self.names)

    def type(self):
        if rng.random() < 0.5:
            return rng.choice(SCALARS)
        if rng.random() < 0.1:
            return "google.protobuf.%sValue" % rng.choice(["Int64", "String", "Bool", "Bytes", "Double"])
        return ".".join(rng.choice(NAMES + ["M1", "M2", "M3", "E4"]) for _ in range(rng.choice([1, 1, 2])))

    def label(self):
        if self.syntax == "proto2":
            return rng.choice(["optional ", "repeated ", "required "])
        return rng.choice(["", "repeated "] + ["optional "] * (self.syntax == "proto3"))

    def number(self, numbers):
        while True:
            number = rng.choice([rng.randint(1, 40), rng.randint(1, 536870911)])
            if number not in numbers and not 19000 <= number <= 19999:
                numbers.add(number)
                return number

    def options(self, label):
        if self.syntax == "2023" and label == "" and rng.random() < 0.3:
            return " [features.field_presence = %s]" % rng.choice(["IMPLICIT", "EXPLICIT", "LEGACY_REQUIRED"])
        if label == "repeated " and rng.random() < 0.2 and self.syntax != "2023":
            return " [packed = %s]" % rng.choice(["true", "false"])
        return ""

    def field(self, numbers, in_oneof, depth):
        number = self.number(numbers)
        if not in_oneof and rng.random() < 0.12:
            return "map<%s, %s> %s = %d;" % (rng.choice(KEYS), self.type(), self.name("f"), number)
        label = "" if in_oneof else self.label()
        if self.syntax == "proto2" and depth < 3 and rng.random() < 0.08:
            return "%sgroup G%d = %d {%s}" % (label, number, number, self.body(depth + 1))
        options = "" if in_oneof else self.options(label)
        return "%s%s %s = %d%s;" % (label, self.type(), self.name("f"), number, options)

    def enum(self):
        first = rng.choice([0, 7]) if self.syntax == "proto2" else 0
        return "enum %s { %s = %d; %s = -3; %s = 2147483647; }" % (
            self.name("E"), self.name("V"), first, self.name("V"), self.name("V"))

    def body(self, depth):
        numbers = set()
        parts = []
        for _ in range(rng.randint(0, 6)):
            chance = rng.random()
            if chance < 0.15 and depth < 3:
                parts.append(self.message(depth + 1))
            elif chance < 0.25:
                parts.append(self.enum())
            elif chance < 0.35:
                fields = [self.field(numbers, True, depth) for _ in range(rng.randint(1, 3))]
                parts.append("oneof %s { %s }" % (self.name("o"), " ".join(fields)))
            else:
                parts.append(self.field(numbers, False, depth))
        return "\n".join(parts)

    def message(self, depth):
        return "message %s {\n%s\n}" % (self.name("M"), self.body(depth))

    def whole(self):
        head = 'edition = "2023";\n' if self.syntax == "2023" else 'syntax = "%s";\n' % self.syntax
        if self.syntax == "2023":
            head += rng.choice(["", "option features.message_encoding = DELIMITED;\n",
                                "option features.enum_type = CLOSED;\n"])
        head += rng.choice(["", "package a;\n", "package a.b;\n"]) + KNOWN_TO_ALL
        return head + "\n".join(rng.choice([lambda: self.message(0), self.enum])() for _ in range(rng.randint(2, 6)))


def compile_text(folder, text):
    with open(os.path.join(folder, "read.proto"), "w", encoding="utf-8") as file:
        file.write(text)
    result = os.path.join(folder, "set")
    # (what protoc says of texts that are none is of no interest)
    sys.stderr.flush()
    if protoc.main(["protoc", "-I", folder, "-I", os.path.join(os.path.dirname(grpc_tools.__file__), "_proto"),
                    "--include_imports", "--descriptor_set_out", result, "read.proto"]) != 0:
        return None
    with open(result, "rb") as file:
        return descriptor_pb2.FileDescriptorSet.FromString(file.read())


def messages_of(files):
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    found = list(pool.FindFileByName("read.proto").message_types_by_name.values())
    for one in found:
        found += [nested for nested in one.nested_types if not nested.GetOptions().map_entry]
    return found


# --- messages ---

def scalar(field):
    if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return rng.choice([0.0, -0.0, 1.5, -2.25, 1e30, math.inf, -math.inf, math.nan, rng.random()])
    if field.cpp_type == field.CPPTYPE_INT64:
        return rng.choice([0, 1, -1, 2**63 - 1, -2**63, rng.randint(-10**12, 10**12)])
    if field.cpp_type == field.CPPTYPE_UINT64:
        return rng.choice([0, 1, 2**64 - 1, rng.randint(0, 10**15)])
    if field.cpp_type == field.CPPTYPE_INT32:
        return rng.choice([0, 1, -1, 2**31 - 1, -2**31, rng.randint(-1000, 1000)])
    if field.cpp_type == field.CPPTYPE_UINT32:
        return rng.choice([0, 1, 2**32 - 1])
    if field.cpp_type == field.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if field.cpp_type == field.CPPTYPE_ENUM:
        numbers = [value.number for value in field.enum_type.values]
        return rng.choice(numbers + ([] if field.enum_type.is_closed else [77]))
    if field.type == field.TYPE_BYTES:
        return rng.choice([b"", b"\xff\x00", b"abc"])
    return rng.choice(["", "a", "ä€😀", "x" * 50, '"\\\n'])


def is_map(field):
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def fill_field(one, field, depth):
    value = getattr(one, field.name) if field.is_repeated or field.message_type else None
    if is_map(field):
        key, inner = field.message_type.fields
        for _ in range(rng.randint(0, 3)):
            if inner.message_type is None:
                value[scalar(key)] = scalar(inner)
            else:
                fill(value[scalar(key)], depth + 1)
    elif field.message_type is not None and field.is_repeated:
        for _ in range(rng.randint(0, 3)):
            fill(value.add(), depth + 1)
    elif field.message_type is not None:
        value.SetInParent()
        fill(value, depth + 1)
    elif field.is_repeated:
        value.extend(scalar(field) for _ in range(rng.randint(0, 4)))
    else:
        setattr(one, field.name, scalar(field))


def fill(one, depth=0):
    for field in one.DESCRIPTOR.fields:
        if rng.random() < 0.65 and (field.message_type is None or depth < 3):
            fill_field(one, field, depth)


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def unknown():
    wire, value = rng.choice([(0, varint(rng.getrandbits(63))), (1, b"12345678"), (2, b"\x03abc"), (5, b"1234")])
    return varint(rng.choice([15000, 536870911]) << 3 | wire) + value


def spoil(data, again):
    """What may come of a message on its way."""
    chance = rng.random()
    if chance < 0.3:
        return data + unknown() + again
    if chance < 0.4:
        return unknown() + data
    if chance < 0.6 and data:
        spoilt = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            spoilt[rng.randrange(len(spoilt))] = rng.choice([rng.randrange(256), 0, 1, 0x0b, 0x0c, 0xff])
        return bytes(spoilt)
    if chance < 0.65:
        return data[:rng.randint(0, len(data))]
    return data


# --- what they are as JSON ---

class Number(float):
    """Of a double or a float."""


def as_text(value):
    """proto2's strings may be none, which Python has as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def as_key(key):
    return str(key).lower() if isinstance(key, bool) else str(as_text(key))


def as_scalar(field, value):
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        return Number(value) if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
    if field.type == field.TYPE_STRING:
        return as_text(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    return value


def as_single(field, value):
    return as_scalar(field, value) if field.message_type is None else as_json(value)


def as_json(one):
    if one.DESCRIPTOR.full_name.startswith("google.protobuf."):
        return as_scalar(one.DESCRIPTOR.fields[0], one.value)
    out = {}
    for field, value in one.ListFields():
        if is_map(field):
            inner = field.message_type.fields[1]
            out[field.name] = {as_key(key): as_single(inner, value[key]) for key in value}
        elif field.is_repeated:
            out[field.name] = [as_single(field, each) for each in value]
        else:
            out[field.name] = as_single(field, value)
    return out


def single(value):
    return struct.pack("f", value)


def is_same(want, got):
    if isinstance(want, Number):
        return (isinstance(got, (int, float)) and (want == got or single(want) == single(got)) and
                math.copysign(1, want) == math.copysign(1, float(got)))
    if isinstance(want, dict):
        return isinstance(got, dict) and want.keys() == got.keys() and all(is_same(want[k], got[k]) for k in want)
    if isinstance(want, list):
        return isinstance(got, list) and len(want) == len(got) and all(map(is_same, want, got))
    return type(want) is type(got) and want == got


# --- the decoder ---

def ask(program, name, data):
    """The number of the answer's field, and what is in it."""
    request = b"\x0a" + varint(len(data)) + data + b"\x18\x02\x22" + varint(len(name)) + name.encode()
    program.stdin.write(struct.pack("<I", len(request)) + request)
    program.stdin.flush()
    answer = program.stdout.read(struct.unpack("<I", program.stdout.read(4))[0])
    at = 1
    while answer[at] > 127:
        at += 1
    return answer[0] >> 3, answer[at + 1:].decode()


def is_text(value):
    """No strings that PostgreSQL has not."""
    if isinstance(value, dict):
        return all(is_text(k) and is_text(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(is_text, value))
    return not isinstance(value, str) or "\0" not in value


def inner_messages(one):
    for field, value in one.ListFields():
        if is_map(field):
            if field.message_type.fields[1].message_type is not None:
                yield from value.values()
        elif field.message_type is not None:
            yield from value if field.is_repeated else [value]


def hides_entries(one):
    """Python takes an entry of a map for unknown that has an unknown field in it; C++ and Java do not."""
    maps = {field.number for field in one.DESCRIPTOR.fields if is_map(field)}
    return (any(field.field_number in maps for field in unknown_fields.UnknownFieldSet(one)) or
            any(map(hides_entries, inner_messages(one))))


def compare(program, descriptor):
    """None, or what is wrong."""
    kind = message_factory.GetMessageClass(descriptor)
    one, other, want = kind(), kind(), kind()
    fill(one)
    fill(other)
    data = spoil(one.SerializePartialToString(), other.SerializePartialToString())
    try:
        want.MergeFromString(data)
        expected = as_json(want)
    except (message.DecodeError, UnicodeDecodeError):
        expected = None
    field, answer = ask(program, descriptor.full_name, data)
    if field != 4:
        fine = expected is None or not is_text(expected)
    else:
        # an integer has no -0
        got = json.loads(answer, parse_int=lambda text: -0.0 if text == "-0" else int(text))
        fine = expected is not None and (is_same(expected, got) or hides_entries(want))
    return None if fine else "%s %s\n  %s\n  %s" % (descriptor.full_name, data.hex(), expected, answer)


def main():
    texts = int(sys.argv[2])
    compared = 0
    with tempfile.TemporaryDirectory() as folder:
        while texts > 0:
            text = Text().whole()
            files = compile_text(folder, text)
            descriptors = messages_of(files) if files else []
            if not descriptors:
                continue
            texts -= 1
            with subprocess.Popen([sys.argv[3], os.path.join(folder, "read.proto")], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE) as program:
                for descriptor in descriptors * 10:
                    wrong = compare(program, descriptor)
                    if wrong:
                        print(text, wrong, sep="\n")
                        return 1
                    compared += 1
                program.stdin.close()
    print("%d messages by random texts are the same to Python" % compared)
    return 0


sys.exit(main())
