package dev.libbge;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtSession;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Microsoft's own binding of ONNX Runtime, with a library of its own, in the same process. */
class OnnxRuntimeTest {
    @Test
    void bothWorkSideBySide() throws Exception {
        try (Model model = Tiny.open("exports/baai")) {
            float[][] before = model.encode(Tiny.TEXTS);
            OrtEnvironment environment = OrtEnvironment.getEnvironment();
            String file = Tiny.path("exports/baai/onnx/model.onnx").toString();
            long[][] ids = {{0, 5, 6, 2}};
            long[][] mask = {{1, 1, 1, 1}};
            try (OrtSession session = environment.createSession(file);
                    OnnxTensor idTensor = OnnxTensor.createTensor(environment, ids);
                    OnnxTensor maskTensor = OnnxTensor.createTensor(environment, mask);
                    OrtSession.Result result = session.run(Map.of("input_ids", idTensor, "attention_mask", maskTensor))) {
                float[][] dense = (float[][]) result.get("sentence_embedding").orElseThrow().getValue();
                assertEquals(model.info().denseDim(), dense[0].length);
            }
            float[][] after = model.encode(Tiny.TEXTS);
            for (int i = 0; i < before.length; i++) {
                assertArrayEquals(before[i], after[i]);
            }
        }
    }
}
