package dev.libbge;

import java.util.Set;

/**
 * A description of a model.
 *
 * @param outputs what the model can make; nobody can change it
 * @param denseDim numbers of a dense vector, if a call has no {@code truncateDim} of its own
 * @param multiDim numbers of a row of a multi-vector; 0: the model has none
 * @param tokenDim numbers of a token embedding; 0: the model gives none
 * @param vocabSize tokens that the model knows
 * @param maxTokens the longest text in tokens, the special ones included
 * @param threads that a run of the model uses
 * @param maxBatchTokens the most tokens in a run of the model
 * @param pooling the modes {@code cls}, {@code max}, {@code mean}, {@code mean_sqrt_len_tokens}, {@code weightedmean} and
 *     {@code lasttoken}, several joined by {@code +}; {@code onnx}: an ONNX export outputs vectors
 * @param precision what is computed in: {@code fp32} or {@code int8}, or what the author of an ONNX export chose
 * @param device where inference runs: {@code cpu}
 * @param runtime what runs it, as {@code onnxruntime 1.31.1}
 * @param similarity how the model's author compares dense vectors
 */
public record ModelInfo(
        Set<Output> outputs,
        int denseDim,
        int multiDim,
        int tokenDim,
        int vocabSize,
        int maxTokens,
        int threads,
        int maxBatchTokens,
        String pooling,
        String precision,
        String device,
        String runtime,
        Metric similarity) {}
