package bge

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// Every numbered constant of bge.h that a caller of Go may need.
var constants = map[string]uint64{
	"BGE_ERROR_INVALID_ARGUMENT": uint64(CodeInvalidArgument), "BGE_ERROR_INVALID_UTF8": uint64(CodeInvalidUTF8),
	"BGE_ERROR_TEXT_TOO_LONG": uint64(CodeTextTooLong), "BGE_ERROR_BUFFER_TOO_SMALL": uint64(CodeBufferTooSmall),
	"BGE_ERROR_UNSUPPORTED": uint64(CodeUnsupported), "BGE_ERROR_MODEL_NOT_FOUND": uint64(CodeModelNotFound),
	"BGE_ERROR_MODEL_INVALID": uint64(CodeModelInvalid), "BGE_ERROR_RUNTIME_UNAVAILABLE": uint64(CodeRuntimeUnavailable),
	"BGE_ERROR_OUT_OF_MEMORY": uint64(CodeOutOfMemory), "BGE_ERROR_NOT_FINITE": uint64(CodeNotFinite),
	"BGE_ERROR_CANCELLED": uint64(CodeCancelled), "BGE_ERROR_TIMEOUT": uint64(CodeTimeout),
	"BGE_ERROR_QUEUE_FULL": uint64(CodeQueueFull), "BGE_ERROR_CLOSED": uint64(CodeClosed),
	"BGE_ERROR_INFERENCE": uint64(CodeInference), "BGE_ERROR_INTERNAL": uint64(CodeInternal),
	"BGE_DEVICE_CPU": uint64(DeviceCPU), "BGE_DEVICE_CUDA": uint64(DeviceCUDA), "BGE_DEVICE_TENSORRT": uint64(DeviceTensorRT),
	"BGE_COMPUTE_FP32": uint64(ComputeFP32), "BGE_COMPUTE_INT8": uint64(ComputeInt8),
	"BGE_COMPUTE_FP16": uint64(ComputeFP16), "BGE_COMPUTE_TF32": uint64(ComputeTF32),
	"BGE_COMPUTE_BF16": uint64(ComputeBF16),
	"BGE_OUTPUT_DENSE": uint64(OutputDense), "BGE_OUTPUT_SPARSE": uint64(OutputSparse),
	"BGE_OUTPUT_MULTI": uint64(OutputMulti), "BGE_OUTPUT_TOKENS": uint64(OutputTokens),
	"BGE_METRIC_COSINE": uint64(MetricCosine), "BGE_METRIC_DOT": uint64(MetricDot),
	"BGE_METRIC_EUCLIDEAN": uint64(MetricEuclidean), "BGE_METRIC_MANHATTAN": uint64(MetricManhattan),
	"BGE_PRECISION_INT8": uint64(PrecisionInt8), "BGE_PRECISION_UINT8": uint64(PrecisionUint8),
	"BGE_PRECISION_BINARY": uint64(PrecisionBinary), "BGE_PRECISION_UBINARY": uint64(PrecisionUbinary),
	"BGE_LOG_OFF": uint64(LogOff), "BGE_LOG_ERROR": uint64(LogError), "BGE_LOG_WARN": uint64(LogWarn),
	"BGE_LOG_INFO": uint64(LogInfo), "BGE_LOG_DEBUG": uint64(LogDebug),
}

func TestConstantsAreTheHeaders(t *testing.T) {
	header, err := os.ReadFile("../../include/bge.h")
	if err != nil {
		t.Fatal(err)
	}
	defined := regexp.MustCompile(`(?m)^#define (BGE_(?:ERROR|DEVICE|COMPUTE|OUTPUT|METRIC|PRECISION|LOG)_\w+) (\d+)$`)
	seen := 0
	for _, line := range defined.FindAllStringSubmatch(string(header), -1) {
		number, _ := strconv.ParseUint(line[2], 10, 64)
		if got, ok := constants[line[1]]; !ok || got != number {
			t.Errorf("%s is %s in bge.h and %d here (there: %v)", line[1], line[2], got, ok)
		}
		seen++
	}
	if seen != len(constants) {
		t.Errorf("bge.h has %d of these constants, and this package %d", seen, len(constants))
	}
}

// Every member of the header's options has its counterpart, so that a new one is
// not forgotten.
func TestOptionsAreTheHeaders(t *testing.T) {
	header, err := os.ReadFile("../../include/bge.h")
	if err != nil {
		t.Fatal(err)
	}
	handled := map[string][]string{
		"bge_open_options": {"struct_size", "flags", "runtime_library", "device", "device_index", "threads", "max_tokens",
			// Calls of Go are never asynchronous to the library.
			"max_batch_tokens", "queue_capacity", "heads_dir", "onnx_file", "compute_type", "device_count", "max_run_bytes", "cache_dir"},
		"bge_encode_options": {"struct_size", "flags", "max_tokens", "timeout_ms", "prompt_name", "cancel", "truncate_dim", "reserved"},
		"bge_quantize_options": {"struct_size", "flags",
			// Rows lie one after another in Go.
			"vectors_stride", "codes_stride", "ranges"},
		"bge_similarity_options": {"struct_size", "threads", "a_stride", "b_stride", "scores_stride"},
	}
	for name, members := range handled {
		body := regexp.MustCompile(`(?s)typedef struct \{([^}]*)\} ` + name + ";").FindSubmatch(header)
		if body == nil {
			t.Fatalf("bge.h has no %s", name)
		}
		found := regexp.MustCompile(`(?m)^    [^/\n][^\n]*?(\w+);$`).FindAllSubmatch(body[1], -1)
		if len(found) != len(members) {
			t.Errorf("%s has %d members in bge.h and %d here", name, len(found), len(members))
			continue
		}
		for i, member := range found {
			if string(member[1]) != members[i] {
				t.Errorf("%s has %s in bge.h where %s is here", name, member[1], members[i])
			}
		}
	}
}
