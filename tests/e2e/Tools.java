import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs the main methods of Apache Kafka's console tools one after the other: to start a JVM for each takes ten times as long as what
 * it does. Asked on standard input: the number of words, then each word, the class first; answered on standard output: the exit code,
 * then what the run wrote to its standard output and to its standard error. Numbers have four bytes, texts have their length before them.
 */
public class Tools {
    /** In place of the end of this process. */
    static class Ended extends RuntimeException {
        Ended(int code) {
            super("exit " + code, null, false, false);
        }
    }

    /** How the run ended first: a tool that catches this end as any other exception ends once more. */
    static Integer ended;

    static void end(int code) {
        if (ended == null) ended = code;
        throw new Ended(code);
    }

    public static void main(String[] none) throws Exception {
        Exit.setExitProcedure((code, message) -> end(code));
        Exit.setHaltProcedure((code, message) -> end(code));
        DataInputStream asked = new DataInputStream(System.in);
        DataOutputStream answers = new DataOutputStream(System.out);
        while (true) {
            String[] words;
            try {
                words = new String[asked.readInt()];
            } catch (EOFException over) {
                return;
            }
            for (int number = 0; number < words.length; number++) {
                words[number] = new String(asked.readNBytes(asked.readInt()), StandardCharsets.UTF_8);
            }
            ByteArrayOutputStream out = new ByteArrayOutputStream(), err = new ByteArrayOutputStream();
            int code = run(words, new PrintStream(out, true, StandardCharsets.UTF_8), new PrintStream(err, true, StandardCharsets.UTF_8));
            answers.writeInt(code);
            write(answers, out);
            write(answers, err);
            answers.flush();
        }
    }

    static int run(String[] words, PrintStream out, PrintStream err) {
        String[] arguments = new String[words.length - 1];
        System.arraycopy(words, 1, arguments, 0, arguments.length);
        PrintStream before = System.err;
        ended = null;
        System.setOut(out);
        System.setErr(err);
        try {
            Class.forName(words[0]).getMethod("main", String[].class).invoke(null, (Object) arguments);
            return ended == null ? 0 : ended;
        } catch (InvocationTargetException thrown) {
            if (ended != null) return ended;
            thrown.getCause().printStackTrace(err);
            return 1;
        } catch (ReflectiveOperationException unknown) {
            unknown.printStackTrace(err);
            return 1;
        } finally {
            System.setErr(before);
        }
    }

    static void write(DataOutputStream to, ByteArrayOutputStream text) throws IOException {
        to.writeInt(text.size());
        text.writeTo(to);
    }
}
