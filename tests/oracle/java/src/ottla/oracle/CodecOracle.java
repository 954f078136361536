package ottla.oracle;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.BinaryNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedWriter;
import java.io.File;
import java.io.IOException;
import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.jar.JarFile;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.RawTaggedField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.internal.BaseRecords;
import org.apache.kafka.common.record.internal.MemoryRecords;

/**
 * Writes random instances of every generated message, in every version, as Apache Kafka
 * serialises them and as it prints them in JSON.
 *
 * <p>Arguments: cases per version, output file. After lines that start with {@code #} (counts), one
 * line per case, fields separated by tabs:
 *
 * <ol>
 *   <li>the message's name in its schema (so {@code FetchRequest}, not {@code FetchRequestData});
 *   <li>the version;
 *   <li>its bytes in hex, without header or frame;
 *   <li>its JSON. The converters print records either as an empty binary or as their size; here the
 *       empty binary is replaced by the base64 of the records, so that nothing is lost;
 *   <li>{@code =}, or for a case with unknown tagged fields (which JSON leaves out) the bytes in hex
 *       that the same message has without them.
 * </ol>
 *
 * <p>Case 0 of a version has every default, case 1 the largest value of everything, case 2 the
 * smallest, null or empty; the rest is random. The seed depends on name, version and case only.
 */
public final class CodecOracle {
    private static final Map<Class<?>, Map<String, Method>> SETTERS = new HashMap<>();
    private static final Map<Class<?>, Integer> TAGS = new HashMap<>();

    private final Random random;
    private final short version;
    private final Mode mode;
    private final boolean unknownTags;
    private final Deque<byte[]> records = new ArrayDeque<>();
    private final List<List<RawTaggedField>> unknown = new ArrayList<>();

    private enum Mode { RANDOM, LARGEST, SMALLEST }

    private CodecOracle(Random random, short version, Mode mode, boolean unknownTags) {
        this.random = random;
        this.version = version;
        this.mode = mode;
        this.unknownTags = unknownTags;
    }

    public static void main(String[] arguments) throws Exception {
        int cases = Integer.parseInt(arguments[0]);
        Path out = Path.of(arguments[1]);
        Map<String, Class<?>> messages = new TreeMap<>();
        Map<String, int[]> perJar = new TreeMap<>();
        for (String jar : System.getProperty("java.class.path").split(File.pathSeparator)) {
            String file = new File(jar).getName();
            if (file.startsWith("kafka") && file.endsWith(".jar")) {
                perJar.put(file, collect(jar, messages));
            }
        }
        int versions = perJar.values().stream().mapToInt(counts -> counts[1]).sum();
        try (BufferedWriter writer = Files.newBufferedWriter(out, StandardCharsets.UTF_8)) {
            writer.write("# messages " + messages.size() + "\n# versions " + versions + "\n");
            for (Map.Entry<String, int[]> jar : perJar.entrySet()) {
                int[] counts = jar.getValue();
                writer.write("# jar " + jar.getKey() + " messages " + counts[0] + " versions "
                    + counts[1] + "\n");
            }
            for (Map.Entry<String, Class<?>> message : messages.entrySet()) {
                Message prototype = instance(message.getValue());
                for (int version = prototype.lowestSupportedVersion();
                        version <= prototype.highestSupportedVersion(); version++) {
                    for (int index = 0; index < cases; index++) {
                        writeCase(writer, message.getKey(), message.getValue(), (short) version, index);
                    }
                }
            }
        }
    }

    /** Adds the jar's messages by schema name; returns how many messages and versions it has. */
    private static int[] collect(String jar, Map<String, Class<?>> messages) throws Exception {
        int[] counts = new int[2];
        List<String> names = new ArrayList<>();
        try (JarFile file = new JarFile(jar)) {
            file.stream().map(entry -> entry.getName())
                .filter(name -> name.endsWith("JsonConverter.class") && !name.contains("$"))
                .sorted().forEach(names::add);
        }
        for (String name : names) {
            String data = name.replace('/', '.').replaceAll("JsonConverter\\.class$", "");
            Class<?> type = Class.forName(data);
            // The generator adds "Data" to requests, responses and headers only; other messages
            // end in "Data" because their schema's name does.
            String schema = type.getSimpleName().replaceAll("(Request|Response|Header)Data$", "$1");
            if (messages.put(schema, type) != null) {
                throw new IllegalStateException("two messages are called " + schema);
            }
            Message prototype = instance(type);
            counts[0]++;
            counts[1] += prototype.highestSupportedVersion() - prototype.lowestSupportedVersion() + 1;
        }
        return counts;
    }

    private static Message instance(Class<?> type) throws ReflectiveOperationException {
        return (Message) type.getConstructor().newInstance();
    }

    private static void writeCase(
        BufferedWriter writer, String name, Class<?> type, short version, int index
    ) throws Exception {
        Random random = new Random(((long) name.hashCode() << 32) ^ ((long) version << 16) ^ index);
        random.nextLong();
        Mode mode = index == 1 ? Mode.LARGEST : index == 2 ? Mode.SMALLEST : Mode.RANDOM;
        CodecOracle oracle = new CodecOracle(random, version, mode, index % 3 == 1);
        Message message = index == 0 ? instance(type) : oracle.struct(type);
        byte[] bytes = bytes(message, version);
        Message again = instance(type);
        again.read(new ByteBufferAccessor(ByteBuffer.wrap(bytes)), version);
        if (!Arrays.equals(bytes, bytes(again, version))) {
            throw new IllegalStateException(name + " " + version + " does not survive itself");
        }
        Class<?> converter = Class.forName(type.getName() + "JsonConverter");
        JsonNode json = (JsonNode) converter.getMethod("write", type, short.class, boolean.class)
            .invoke(null, message, version, true);
        oracle.fillRecords(json);
        if (!oracle.records.isEmpty()) {
            throw new IllegalStateException(name + " " + version + ": records left over");
        }
        String known = "=";
        if (!oracle.unknown.isEmpty()) {
            oracle.unknown.forEach(List::clear);
            known = hex(bytes(message, version));
        }
        writer.write(name + "\t" + version + "\t" + hex(bytes) + "\t" + json + "\t" + known + "\n");
    }

    private static byte[] bytes(Message message, short version) {
        ByteBuffer buffer = MessageUtil.toByteBufferAccessor(message, version).buffer();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes;
    }

    private static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder(2 * bytes.length);
        for (byte value : bytes) {
            text.append(Character.forDigit((value >> 4) & 15, 16));
            text.append(Character.forDigit(value & 15, 16));
        }
        return text.toString();
    }

    /** Puts the generated records, in the order they were made, where the converter dropped them. */
    private void fillRecords(JsonNode node) throws IOException {
        if (node instanceof ArrayNode) {
            for (JsonNode element : node) {
                fillRecords(element);
            }
        } else if (node instanceof ObjectNode) {
            ObjectNode object = (ObjectNode) node;
            List<String> names = new ArrayList<>();
            object.fieldNames().forEachRemaining(names::add);
            for (String name : names) {
                JsonNode value = object.get(name);
                boolean holds = name.equals("records") || name.equals("unalignedRecords");
                if (holds && value instanceof BinaryNode && !records.isEmpty()) {
                    object.set(name, new BinaryNode(records.removeFirst()));
                } else {
                    fillRecords(value);
                }
            }
        }
    }

    private Message struct(Class<?> type) throws ReflectiveOperationException {
        Message message = instance(type);
        for (BoundField bound : schema(type, version).fields()) {
            Field field = bound.def;
            if (field instanceof Field.TaggedFieldsSection) {
                for (Field tagged : taggedFields(field).values()) {
                    if (mode != Mode.RANDOM || random.nextBoolean()) {
                        set(message, tagged);
                    }
                }
                if (unknownTags && random.nextInt(3) > 0) {
                    addUnknownTags(message);
                }
            } else {
                set(message, field);
            }
        }
        return message;
    }

    private static Schema schema(Class<?> type, int version) throws ReflectiveOperationException {
        Schema[] schemas = (Schema[]) type.getField("SCHEMAS").get(null);
        return version < schemas.length ? schemas[version] : null;
    }

    @SuppressWarnings("unchecked")
    private static Map<Integer, Field> taggedFields(Field section)
        throws ReflectiveOperationException {
        java.lang.reflect.Field fields = section.type.getClass().getDeclaredField("fields");
        fields.setAccessible(true);
        return (Map<Integer, Field>) fields.get(section.type);
    }

    private void set(Message message, Field field) throws ReflectiveOperationException {
        Method setter = setters(message.getClass()).get(field.name.replace("_", ""));
        if (setter == null) {
            throw new IllegalStateException(message.getClass() + " has no " + field.name);
        }
        setter.invoke(message, value(setter.getGenericParameterTypes()[0], field.type));
    }

    private static Map<String, Method> setters(Class<?> type) {
        return SETTERS.computeIfAbsent(type, key -> {
            Map<String, Method> found = new HashMap<>();
            for (Method method : key.getMethods()) {
                if (method.getName().startsWith("set") && method.getParameterCount() == 1) {
                    found.put(method.getName().substring(3).toLowerCase(Locale.ROOT), method);
                }
            }
            return found;
        });
    }

    /** A value for a Java type that the wire type of this version can carry. */
    private Object value(java.lang.reflect.Type java, Type wire) throws ReflectiveOperationException {
        if (wire.isNullable() && (mode == Mode.SMALLEST
                || mode == Mode.RANDOM && random.nextInt(4) == 0)) {
            return null;
        }
        if (wire.isArray()) {
            return array(java, wire.arrayElementType().orElseThrow());
        }
        Class<?> type = (Class<?>) java;
        if (type == boolean.class || type == Boolean.class) {
            return pick(true, false, random.nextBoolean());
        } else if (type == byte.class || type == Byte.class) {
            return (byte) integer(Byte.MIN_VALUE, Byte.MAX_VALUE);
        } else if (type == short.class || type == Short.class) {
            return (short) integer(Short.MIN_VALUE, Short.MAX_VALUE);
        } else if (type == int.class || type == Integer.class) {
            boolean unsigned = wire == Type.UINT16;
            return (int) (unsigned ? integer(0, 65535) : integer(Integer.MIN_VALUE, Integer.MAX_VALUE));
        } else if (type == long.class || type == Long.class) {
            boolean unsigned = wire == Type.UNSIGNED_INT32;
            return unsigned ? integer(0, 0xffffffffL) : integer(Long.MIN_VALUE, Long.MAX_VALUE);
        } else if (type == double.class || type == Double.class) {
            double[] special = {0.0, -0.0, 1.0, -1.5, Double.MIN_VALUE, Double.MAX_VALUE, 0.1};
            double any = random.nextInt(2) == 0 ? special[random.nextInt(special.length)]
                : random.nextGaussian() * 1e9;
            return pick(Double.MAX_VALUE, -Double.MAX_VALUE, any);
        } else if (type == Uuid.class) {
            Uuid any = random.nextInt(4) == 0 ? Uuid.ZERO_UUID
                : new Uuid(random.nextLong(), random.nextLong());
            return pick(new Uuid(-1, -1), Uuid.ZERO_UUID, any);
        } else if (type == String.class) {
            return string();
        } else if (type == byte[].class) {
            return someBytes();
        } else if (type == ByteBuffer.class) {
            return ByteBuffer.wrap(someBytes());
        } else if (type == BaseRecords.class) {
            byte[] bytes = someBytes();
            records.addLast(bytes);
            return MemoryRecords.readableRecords(ByteBuffer.wrap(bytes));
        } else if (Message.class.isAssignableFrom(type)) {
            return struct(type);
        }
        throw new IllegalStateException("no values for " + java);
    }

    private <T> T pick(T largest, T smallest, T any) {
        return mode == Mode.LARGEST ? largest : mode == Mode.SMALLEST ? smallest : any;
    }

    private long integer(long min, long max) {
        long any;
        switch (random.nextInt(6)) {
            case 0: any = min; break;
            case 1: any = max; break;
            case 2: any = 0; break;
            case 3: any = Math.max(min, -1); break;
            case 4: any = random.nextInt(100); break;
            // A number of random width: shifting spreads the magnitudes evenly.
            default: any = Math.max(min, Math.min(max, random.nextLong() >> random.nextInt(64)));
        }
        return pick(max, min, any);
    }

    private String string() {
        String[] texts = {"", "a", "topic-1", "žluťoučký kůň", "日本語", "🦀 \uD835\uDD18", "a.b_c-D",
            "\u0000\t\r\n\"\\/", "\u007f\u0080\u07ff\u0800\uffff", "x".repeat(127), "ě".repeat(64),
            "y".repeat(300)};
        String any = random.nextInt(2000) == 0 ? "z".repeat(Short.MAX_VALUE)
            : texts[random.nextInt(texts.length)];
        return pick("🦀".repeat(40), "", any);
    }

    private byte[] someBytes() {
        int[] lengths = {0, 1, 16, 126, 127, 128, 300};
        int any = random.nextInt(500) == 0 ? 20_000 : lengths[random.nextInt(lengths.length)];
        byte[] bytes = new byte[pick(1000, 0, any)];
        random.nextBytes(bytes);
        return bytes;
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private Object array(java.lang.reflect.Type java, Type element)
        throws ReflectiveOperationException {
        Collection<Object> all;
        java.lang.reflect.Type elementType;
        if (java instanceof ParameterizedType) {
            all = new ArrayList<>();
            elementType = ((ParameterizedType) java).getActualTypeArguments()[0];
        } else {
            // Arrays with map keys have a collection class of their own; it keeps order and
            // duplicates.
            Class<?> collection = (Class<?>) java;
            all = (Collection) collection.getConstructor().newInstance();
            elementType = ((ParameterizedType) collection.getGenericSuperclass())
                .getActualTypeArguments()[0];
        }
        int count = pick(2, 0, random.nextInt(4));
        for (int index = 0; index < count; index++) {
            all.add(value(elementType, element));
        }
        return all;
    }

    private void addUnknownTags(Message message) throws ReflectiveOperationException {
        int tag = firstFreeTag(message.getClass());
        int count = 1 + random.nextInt(3);
        List<RawTaggedField> fields = message.unknownTaggedFields();
        for (int index = 0; index < count; index++) {
            tag += random.nextInt(4) == 0 ? 1 + random.nextInt(20_000) : 1;
            byte[] data = new byte[random.nextInt(4) == 0 ? 0 : random.nextInt(200)];
            random.nextBytes(data);
            fields.add(new RawTaggedField(tag, data));
        }
        unknown.add(fields);
    }

    /** The first tag that no version of the struct knows. */
    private static int firstFreeTag(Class<?> type) throws ReflectiveOperationException {
        Integer cached = TAGS.get(type);
        if (cached != null) {
            return cached;
        }
        int tag = 0;
        for (Schema schema : (Schema[]) type.getField("SCHEMAS").get(null)) {
            for (BoundField field : schema == null ? new BoundField[0] : schema.fields()) {
                if (field.def instanceof Field.TaggedFieldsSection) {
                    for (int known : taggedFields(field.def).keySet()) {
                        tag = Math.max(tag, known + 1);
                    }
                }
            }
        }
        TAGS.put(type, tag);
        return tag;
    }
}
