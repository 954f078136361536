package ottla.oracle;

import org.apache.kafka.common.errors.InvalidMetadataException;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.protocol.Errors;

/**
 * Prints every error code: code, name, whether a client may retry, whether it should refresh its
 * metadata first, what is said of it where nothing else is; separated by tabs.
 */
public final class ErrorCodes {
    private ErrorCodes() {}

    public static void main(String[] arguments) {
        for (Errors error : Errors.values()) {
            boolean retriable = error.exception() instanceof RetriableException;
            boolean refresh = error.exception() instanceof InvalidMetadataException;
            System.out.println(error.code() + "\t" + error.name() + "\t" + retriable + "\t" + refresh
                    + "\t" + error.message());
        }
    }
}
