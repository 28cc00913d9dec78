package dev.libbge;

import java.time.Duration;

/**
 * Totals since a model was opened.
 *
 * @param queueDepth asynchronous calls that have not ended
 * @param calls calls to encode, however they ended
 * @param failures calls that failed, those that were stopped included
 * @param cancellations calls that were stopped by an interrupt, a future or a timeout
 * @param texts texts that went through the model
 * @param tokens tokens that went through the model
 * @param batches runs of the model: texts of several calls share a run
 * @param tokenizing time spent tokenizing, over all threads
 * @param inference time that runs took; two side by side count both
 * @param notFinite texts that failed with {@link ErrorCode#NOT_FINITE}
 * @param dropped calls that ended before a run that would have ended after their timeout, by the rate of the last runs; they
 *     count as cancellations
 */
public record ModelStats(
        int queueDepth,
        long calls,
        long failures,
        long cancellations,
        long texts,
        long tokens,
        long batches,
        Duration tokenizing,
        Duration inference,
        long notFinite,
        long dropped) {}
