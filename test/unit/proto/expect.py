"""What protoc says of each .proto text here, as proto.c writes the graph of one.

    expect.py [FOLDER [google/type's FOLDER]]

Writes NAME.expected beside each NAME.proto, and NAME.set, the descriptors in base64;
and sees that protoc refuses what is
in "refused", but for what says in its title that it does not.  Needs PyPI's
grpcio-tools (1.85.1) and, for google/type, googleapis-common-protos.
"""
import base64
import os
import pathlib
import re
import struct
import sys
import tempfile

import grpc_tools
from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from grpc_tools import protoc

TYPES = ["", "double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "group", "message",
         "bytes", "uint32", "enum", "sfixed32", "sfixed64", "sint32", "sint64"]
KNOWN = {"google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration",
         "google.protobuf.Struct": "struct", "google.protobuf.Value": "value", "google.protobuf.ListValue": "list value",
         "google.protobuf.Any": "any", "google.protobuf.FieldMask": "field mask", "google.protobuf.Empty": "empty",
         "google.type.Date": "date", "google.type.TimeOfDay": "time of day", "confluent.type.Decimal": "decimal"}
for wrapper in "Double Float Int64 UInt64 Int32 UInt32 Bool String Bytes".split():
    KNOWN["google.protobuf." + wrapper + "Value"] = "wrapper"

# what registries have, and compilers do not
OTHERS = {
    "confluent/type/decimal.proto":
        'syntax = "proto3"; package confluent.type;'
        "message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }",
    "confluent/types/decimal.proto":
        'syntax = "proto3"; import public "confluent/type/decimal.proto";',
    "confluent/type/variant.proto":
        'syntax = "proto3"; package confluent.type; message Variant { bytes metadata = 1; bytes value = 2; }',
    "confluent/meta.proto":
        'syntax = "proto3"; package confluent; import "google/protobuf/descriptor.proto";'
        "message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; repeated Rule rules = 4; }"
        "message Rule { string name = 1; string doc = 2; string expr = 3; string sql = 4; }"
        "extend google.protobuf.MessageOptions { Meta message_meta = 1088; }"
        "extend google.protobuf.FieldOptions { Meta field_meta = 1088; }"
}


def split(content):
    """Texts by their names; the last one is what is read."""
    if not content.startswith("--- "):
        return {"read.proto": content}
    parts = re.split(r"^--- (.*)\n", content, flags=re.M)[1:]
    names = parts[0::2]
    return dict(zip(names[:-1] + ["read.proto"], parts[1::2]))


def compile_texts(texts, folder):
    """A descriptor set, or None."""
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        for name, text in list(OTHERS.items()) + list(texts.items()):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(text)
        args = ["protoc", "-I", str(work), "-I", os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")]
        if folder:
            args += ["-I", folder]
        args += ["--include_imports", "--include_source_info", "--descriptor_set_out", str(work / "set"), "read.proto"]
        if protoc.main(args) != 0:
            return None
        return descriptor_pb2.FileDescriptorSet.FromString((work / "set").read_bytes())


# --- comments ---

def clean(location):
    text = location.leading_comments or location.trailing_comments
    # (of "/**" protoc leaves a "*")
    lines = [line.strip(" \t\r\v\f").lstrip("/").strip(" \t\r\v\f") for line in text.lstrip("*").strip("\n").split("\n")]
    while lines and lines[-1] == "":
        lines.pop()
    while lines and lines[0] == "":
        lines.pop(0)
    return lines


def comments_of(files):
    """By file and path."""
    found = {}
    for file in files:
        for location in file.source_code_info.location:
            lines = clean(location)
            if lines:
                found[file.name, tuple(location.path)] = lines
    return found


def parts_of(data, number):
    """What an encoded message has of one field, whose values are bytes."""
    found = []
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 2:
            length = varint()
            if tag >> 3 == number:
                found.append(data[at:at + length])
            at += length
        elif tag & 7 == 0:
            varint()
        else:
            at += 8 if tag & 7 == 1 else 4
    return found


def doc_of(options):
    """The text in confluent.message_meta or field_meta, which counts before a comment."""
    meta = b"".join(parts_of(options.SerializeToString(), 1088))
    docs = parts_of(meta, 1)
    return docs[-1].decode().split("\n") if docs and docs[-1] else None


def path_of(message):
    if message.containing_type is None:
        return (4, list(message.file.message_types_by_name.values()).index(message))
    return path_of(message.containing_type) + (3, list(message.containing_type.nested_types).index(message))


def show_comment(out, indent, lines):
    for line in lines or []:
        out.append((indent + "# " + line))


# --- the graph ---

def single(field):
    name = TYPES[field.type]
    if field.message_type is not None:
        return name + " " + field.message_type.full_name
    if field.enum_type is not None:
        return name + " " + field.enum_type.full_name
    return name


def is_map(field):
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def type_name(field):
    if is_map(field):
        return "map<%s, %s>" % tuple(single(f) for f in field.message_type.fields)
    return ("repeated " if field.is_repeated else "") + single(field)


def real_oneofs(message):
    return [o for o in message.oneofs if not (len(o.fields) == 1 and o.name == "_" + o.fields[0].name and
                                              is_optional(o.fields[0]))]


def is_optional(field):
    proto = descriptor_pb2.FieldDescriptorProto()
    field.containing_type.CopyToProto(message := descriptor_pb2.DescriptorProto())
    proto = next(f for f in message.field if f.name == field.name)
    return proto.proto3_optional


def default_of(field):
    if not field.has_default_value:
        return ""
    value = field.default_value
    if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT):
        text = "%.17g" % value
        return " default " + ("-nan" if text == "nan" and struct.pack(">d", value)[0] & 128 else text)
    if field.type == field.TYPE_STRING:
        return " default =" + value.encode().hex()
    if field.type == field.TYPE_BYTES:
        return " default =" + value.hex()
    return " default %d" % value


def describe_message(out, message, comments, mention):
    name = message.full_name
    out.append("message " + name + (" entry" if message.GetOptions().map_entry else "") +
               (" is a " + KNOWN[name] if name in KNOWN else ""))
    path = path_of(message)
    entry = message.GetOptions().map_entry
    show_comment(out, "  ", None if entry else doc_of(message.GetOptions()) or comments.get((message.file.name, path)))
    oneofs = real_oneofs(message)
    out.extend("  oneof " + o.name for o in oneofs)
    for nested in message.nested_types:
        if not nested.GetOptions().map_entry:
            out.append("  message " + nested.full_name)
            mention(nested)
    for i, field in enumerate(message.fields):
        line = "  %d %s %s: %s" % (field.number, field.name, field.json_name, type_name(field))
        line += " required" if field.is_required else ""
        line += " presence" if field.has_presence else ""
        if field.containing_oneof in oneofs:
            line += " oneof %d" % oneofs.index(field.containing_oneof)
        out.append(line + default_of(field))
        comment = doc_of(field.GetOptions()) or comments.get((message.file.name, path + (2, i)))
        # (that of a group is of its message only)
        if TYPES[field.type] == "group" and message.file.name not in EDITIONS and \
                field.message_type.name.lower() == field.name:
            comment = comment or comments.get((field.file.name, path_of(field.message_type)))
        show_comment(out, "    ", comment)
        mention(field.message_type)
        mention(field.enum_type)


def describe_enum(out, enum):
    out.append("enum " + enum.full_name + (" closed" if enum.is_closed else "") +
               (" is null" if enum.full_name == "google.protobuf.NullValue" else ""))
    out.extend("  %s = %d" % (value.name, value.number) for value in enum.values)


EDITIONS = set()


def describe(files, name):
    EDITIONS.clear()
    EDITIONS.update(file.name for file in files if file.syntax == "editions")
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    # (of the files that are built in, comments are not)
    comments = comments_of([f for f in files if not re.match("google/|confluent/", f.name)])
    read = pool.FindFileByName(name)
    proto = next(f for f in files if f.name == name)
    out = ['package "%s"%s' % (read.package, " proto3" if proto.syntax == "proto3" else "")]
    queue = []

    def mention(item):
        if item is not None and all(item.full_name != other.full_name for other in queue):
            queue.append(item)

    for message in proto.message_type:
        mention(read.message_types_by_name[message.name])
    for item in queue:
        if hasattr(item, "values"):
            describe_enum(out, item)
        else:
            describe_message(out, item, comments, mention)
    return "".join(line + "\n" for line in out)


def without_comments(files):
    for file in files.file:
        file.ClearField("source_code_info")
    return files.SerializeToString()


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__)))
    google = sys.argv[2] if len(sys.argv) > 2 else None
    status = 0
    for path in sorted(folder.glob("*.proto")):
        result = compile_texts(split(path.read_text()), google)
        if result is None:
            print(path, "is refused")
            status = 1
            continue
        path.with_suffix(".expected").write_text(describe(result.file, "read.proto"))
        path.with_suffix(".set").write_bytes(base64.encodebytes(without_comments(result)))
    refused = folder / "refused"
    if refused.exists():
        for title, text in re.findall(r"^=== ([^\n]*)\n(.*?)^!!! ", refused.read_text(), flags=re.M | re.S):
            accepted = compile_texts(split(text), google) is not None
            if accepted != ("protoc takes it" in title):
                print(title, "is", "accepted" if accepted else "refused")
                status = 1
    return status


sys.exit(main())
