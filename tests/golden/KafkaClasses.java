import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.HexFormat;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

/**
 * Has Kafka's own message class of that name read and write each body of the lines KIND KEY NAME VERSION .HEX on its
 * input. Prints each line with the bytes that Kafka wrote; fails when they differ or Kafka cannot read a body.
 */
public class KafkaClasses {
    private static final String[] PACKAGES = {
        "org.apache.kafka.common.message.",
        "org.apache.kafka.common.metadata.",
        "org.apache.kafka.coordinator.group.generated.",
        "org.apache.kafka.coordinator.transaction.generated.",
        "org.apache.kafka.coordinator.share.generated.",
    };

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        int same = 0;
        int different = 0;
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            byte[] body = HexFormat.of().parseHex(words[4].substring(1));
            byte[] again = again(words[2], Short.parseShort(words[3]), body);
            System.out.println(String.join(" ", Arrays.copyOf(words, 4)) + " ." + HexFormat.of().formatHex(again));
            if (Arrays.equals(again, body)) {
                same++;
            } else {
                different++;
                System.err.println("different: " + line);
            }
        }
        System.err.println(same + " the same, " + different + " different");
        System.exit(different == 0 && same > 0 ? 0 : 1);
    }

    private static byte[] again(String name, short version, byte[] body) throws Exception {
        Message message = message(name);
        ByteBuffer buffer = ByteBuffer.wrap(body);
        message.read(new ByteBufferAccessor(buffer), version);
        if (buffer.hasRemaining())
            throw new IllegalStateException(name + " v" + version + " leaves " + buffer.remaining() + " bytes");
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer out = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(out), cache, version);
        return out.array();
    }

    private static Message message(String name) throws Exception {
        String simple = name.endsWith("Request") || name.endsWith("Response") ? name + "Data" : name;
        for (String prefix : PACKAGES) {
            try {
                return (Message) Class.forName(prefix + simple).getDeclaredConstructor().newInstance();
            } catch (ClassNotFoundException e) {
                // In another package.
            }
        }
        throw new ClassNotFoundException(name);
    }
}
