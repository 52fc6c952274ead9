import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's command-line tools one after the other in one JVM, because starting a JVM costs more than most of
 * them. Commands: {"op": "tool", "class": NAME, "arguments": [...], "input": TEXT} and "hello".
 */
public final class ToolDriver {
    private static final ObjectMapper JSON = new ObjectMapper();

    /** Thrown in place of ending the process; the first status counts. */
    private static final class Exited extends Error {
        Exited() {
            super("exit", null, false, false);
        }
    }

    private static volatile Integer status;
    /** What a tool wanted run at the end of its process; it is run at the end of the tool instead. */
    private static final List<Runnable> HOOKS = new ArrayList<>();

    public static void main(String[] arguments) throws Exception {
        Exit.setExitProcedure((code, message) -> {
            if (status == null) {
                status = code;
            }
            throw new Exited();
        });
        Exit.setShutdownHookAdder((name, hook) -> HOOKS.add(hook));
        PrintStream replies = System.out;
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            JsonNode command = JSON.readTree(line);
            boolean hello = command.get("op").asText().equals("hello");
            Object reply = hello ? Map.of("client", "Kafka's command-line tools", "cannot", List.of()) : run(command);
            replies.println(JSON.writeValueAsString(reply));
            replies.flush();
        }
        System.exit(0);
    }

    private static Object run(JsonNode command) throws Exception {
        List<String> arguments = new ArrayList<>();
        command.get("arguments").forEach(argument -> arguments.add(argument.asText()));
        ByteArrayOutputStream output = new ByteArrayOutputStream();
        PrintStream capture = new PrintStream(output, true, StandardCharsets.UTF_8);
        System.setOut(capture);
        System.setErr(capture);
        System.setIn(new ByteArrayInputStream(command.path("input").asText().getBytes(StandardCharsets.UTF_8)));
        status = null;
        try {
            Class<?> tool = Class.forName(command.get("class").asText());
            tool.getMethod("main", String[].class).invoke(null, (Object) arguments.toArray(new String[0]));
        } catch (InvocationTargetException failure) {
            if (!(failure.getCause() instanceof Exited)) {
                failure.getCause().printStackTrace(capture);
                status = 1;
            }
        }
        HOOKS.forEach(Runnable::run);
        HOOKS.clear();
        capture.flush();
        return Map.of("status", status == null ? 0 : status, "output", output.toString(StandardCharsets.UTF_8));
    }
}
