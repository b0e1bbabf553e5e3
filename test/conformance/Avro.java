/*
 * Avro.java
 *	  Apache Avro as the other side of the tests of Avro: what it makes of records by the
 *	  writer's schema, and resolved by a reader's.
 *
 *	java -cp JARS Avro.java SEED
 *
 * Reads lines of JSON, {"writer": SCHEMA, "reader": SCHEMA}, and writes one for each with
 * records in hex and what they are; before these, one for each pair of schemas, and each
 * datum, that Avro's own tests of schema resolution have (the jar of its tests).  Values
 * are as in JSON, but for bytes, which are a string with \x and hex, for floats, which are
 * strings, and for unions, which are their branch's value.
 */
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Collection;
import java.util.List;
import java.util.Map;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericFixed;
import org.apache.avro.generic.IndexedRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.util.RandomData;

public class Avro {
	static final JsonNodeFactory json = JsonNodeFactory.instance;
	static final ObjectMapper mapper = new ObjectMapper();
	static final PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
	static final int RECORDS = 4;
	static long seed;

	static String hex(byte[] bytes) {
		StringBuilder s = new StringBuilder();
		for (byte b : bytes)
			s.append(String.format("%02x", b));
		return s.toString();
	}

	static String hex(ByteBuffer bytes) {
		byte[] copy = new byte[bytes.remaining()];
		bytes.duplicate().get(copy);
		return hex(copy);
	}

	static JsonNode plain(Schema schema, Object v) {
		switch (schema.getType()) {
			case UNION:
				return plain(schema.getTypes().get(GenericData.get().resolveUnion(schema, v)), v);
			case NULL:
				return json.nullNode();
			case BOOLEAN:
				return json.booleanNode((Boolean) v);
			case INT:
			case LONG:
				return json.numberNode(((Number) v).longValue());
			case FLOAT:
				return json.objectNode().put("\0float", v.toString());
			case DOUBLE:
				return json.objectNode().put("\0double", v.toString());
			case BYTES:
				return json.textNode("\\x" + hex((ByteBuffer) v));
			case FIXED:
				return json.textNode("\\x" + hex(((GenericFixed) v).bytes()));
			case ARRAY:
				ArrayNode list = json.arrayNode();
				for (Object item : (Collection<?>) v)
					list.add(plain(schema.getElementType(), item));
				return list;
			case MAP:
				ObjectNode map = json.objectNode();
				for (Map.Entry<?, ?> entry : ((Map<?, ?>) v).entrySet())
					map.set(entry.getKey().toString(), plain(schema.getValueType(), entry.getValue()));
				return map;
			case RECORD:
				ObjectNode record = json.objectNode();
				for (Schema.Field field : schema.getFields())
					record.set(field.name(), plain(field.schema(), ((IndexedRecord) v).get(field.pos())));
				return record;
			default:
				return json.textNode(v.toString());
		}
	}

	/** In one block, or in blocks with their sizes. */
	static byte[] write(Schema schema, Object v, boolean blocks) throws IOException {
		ByteArrayOutputStream bytes = new ByteArrayOutputStream();
		EncoderFactory factory = new EncoderFactory().configureBlockSize(64);
		BinaryEncoder encoder = blocks ? factory.blockingBinaryEncoder(bytes, null) : factory.binaryEncoder(bytes, null);
		new GenericDatumWriter<>(schema).write(v, encoder);
		encoder.flush();
		return bytes.toByteArray();
	}

	static Object read(Schema writer, Schema reader, byte[] bytes) throws IOException {
		return new GenericDatumReader<>(writer, reader).read(null, DecoderFactory.get().binaryDecoder(bytes, null));
	}

	/** Has it values at all? */
	static boolean isInhabited(Schema schema) {
		return schema.getType() != Schema.Type.UNION || !schema.getTypes().isEmpty();
	}

	static void tell(String name, Schema writer, Schema reader, Iterable<Object> values) throws IOException {
		ObjectNode line = json.objectNode();
		ArrayNode records = line.putArray("records");
		boolean blocks = false;

		line.put("name", name);
		line.set("writer", mapper.readTree(writer.toString()));
		line.set("reader", mapper.readTree(reader.toString()));
		for (Object value : values) {
			byte[] bytes = write(writer, value, blocks);
			ObjectNode record = records.addObject();
			record.put("bytes", hex(bytes));
			record.set("written", plain(writer, read(writer, writer, bytes)));
			record.set("read", plain(reader, read(writer, reader, bytes)));
			blocks = !blocks;
		}
		out.println(line);
	}

	static Object call(Object o, String method) throws ReflectiveOperationException {
		Method m = o.getClass().getMethod(method);
		m.setAccessible(true);
		return m.invoke(o);
	}

	static List<?> list(Class<?> c, String name) throws ReflectiveOperationException {
		Field field = c.getField(name);
		return (List<?>) field.get(null);
	}

	static void tellTests() throws Exception {
		Class<?> c = Class.forName("org.apache.avro.TestSchemaCompatibility");
		int n = 0;

		for (Object pair : list(c, "COMPATIBLE_READER_WRITER_TEST_CASES")) {
			Schema writer = (Schema) call(pair, "getWriter");
			n++;
			try {
				if (isInhabited(writer))
					tell("pair " + n, writer, (Schema) call(pair, "getReader"), new RandomData(writer, RECORDS, seed + n));
			}
			catch (StackOverflowError e) {
				/* random values of a recursive type have no end */
			}
		}
		n = 0;
		for (Object test : list(c, "DECODING_COMPATIBILITY_TEST_CASES"))
			tell("datum " + ++n, (Schema) call(test, "getWriterSchema"), (Schema) call(test, "getReaderSchema"),
				 List.of(call(test, "getDatum")));
	}

	public static void main(String[] args) throws Exception {
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
		int n = 0;

		seed = Long.parseLong(args[0]);
		tellTests();
		for (String line = in.readLine(); line != null; line = in.readLine()) {
			JsonNode pair = mapper.readTree(line);
			Schema writer = new Schema.Parser().parse(pair.get("writer").toString());
			Schema reader = new Schema.Parser().parse(pair.get("reader").toString());
			tell("random " + ++n, writer, reader, new RandomData(writer, RECORDS, seed + n));
		}
		out.flush();
	}
}
