// Package bge computes text embeddings of BAAI/bge-m3 and its fine-tunes in this
// process, through libbge's C interface.
//
//	model, err := bge.Open("bge-m3", nil)
//	if err != nil {
//		return err
//	}
//	defer model.Close()
//	vectors, err := model.Encode(ctx, []string{"Where is the cat?", "Di mana kucing itu?"}, nil)
//
// bge.h documents what a function does, its limits and its defaults, under the
// same name with the prefix bge_; this package documents only what differs in Go.
//
// Any number of goroutines may use everything at once. Texts of all goroutines
// share batches, so call Encode where the texts are rather than collect them. A
// goroutine that waits for the model occupies no OS thread, except for a few at a
// time. A zero option has its default.
//
// Errors are of type *Error; errors.Is compares them with ErrTimeout and the
// other sentinels. The error of a call whose context ended is also
// context.Canceled or context.DeadlineExceeded.
//
// A release is a tag like bindings/go/v0.1.0 of libbge's repository. cgo finds
// the library by pkg-config: PKG_CONFIG_PATH names the folder of bge.pc, and
// LD_LIBRARY_PATH or an rpath the folder of libbge.so.
package bge

/*
#cgo pkg-config: bge
#include <bge.h>
#include <stdlib.h>

#if BGE_VERSION_MAJOR != 0 || BGE_VERSION_MINOR != 1
#error "this package is for bge.h 0.1: use the release of the same number"
#endif

// The initializers of the header, which cgo cannot read.
static bge_open_options bge_go_open_options(void) { bge_open_options o = BGE_OPEN_OPTIONS_INIT; return o; }
static bge_info bge_go_info(void) { bge_info i = BGE_INFO_INIT; return i; }
static bge_stats bge_go_stats(void) { bge_stats s = BGE_STATS_INIT; return s; }
*/
import "C"

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Device is where inference runs.
type Device uint32

// If the device is not available, Open fails; it never falls back to another.
const (
	DeviceCPU  Device = C.BGE_DEVICE_CPU
	DeviceCUDA Device = C.BGE_DEVICE_CUDA
	// DeviceTensorRT runs engines that the command `bge prepare` has built in
	// CacheDir; Open builds none.
	DeviceTensorRT Device = C.BGE_DEVICE_TENSORRT
)

// ComputeType is the type of the numbers that weights are multiplied in.
type ComputeType uint32

const (
	// ComputeFP32 is floating point of 32 bits.
	ComputeFP32 ComputeType = C.BGE_COMPUTE_FP32
	// ComputeInt8 is integers of 8 bits; Open quantizes the weights.
	ComputeInt8 ComputeType = C.BGE_COMPUTE_INT8
	// ComputeFP16 is floating point of 16 bits, on a GPU.
	ComputeFP16 ComputeType = C.BGE_COMPUTE_FP16
	// ComputeTF32 is floating point of 32 bits, rounded to 19 bits in products, on a GPU.
	ComputeTF32 ComputeType = C.BGE_COMPUTE_TF32
	// ComputeBF16 is floating point of 16 bits with the range of 32, with TensorRT.
	ComputeBF16 ComputeType = C.BGE_COMPUTE_BF16
)

// OpenOptions are the options of Open: bge_open_options. A zero member has its
// default.
type OpenOptions struct {
	// RuntimeLibrary is the path of libonnxruntime.
	RuntimeLibrary string
	Device         Device
	DeviceIndex    uint32
	// DeviceCount is the number of GPUs that share the work, from DeviceIndex on.
	DeviceCount uint32
	// Threads is the number of threads that compute a batch.
	Threads uint32
	// MaxTokens is the longest text in tokens, the special ones included.
	MaxTokens uint32
	// MaxBatchTokens is the most tokens of a batch.
	MaxBatchTokens uint32
	// HeadsDir is a folder with sparse_linear and colbert_linear to use in place
	// of the model's own.
	HeadsDir string
	// ONNXFile is an export to run as it is, by its path from the directory.
	ONNXFile    string
	ComputeType ComputeType
	// MaxRunBytes is the most memory of the batches under way, beside the model.
	MaxRunBytes uint64
	// CacheDir is a folder for packed weights, which processes share, and for the
	// engines of TensorRT.
	CacheDir string
	// SmallMemory leaves the weights in their mapped file.
	SmallMemory bool
	// RawTokenizer runs tokenizer.json as it is, not as the version of transformers
	// that the directory names would.
	RawTokenizer bool
}

// Output is a set of kinds of results.
type Output uint32

const (
	// OutputDense is a vector for each text.
	OutputDense Output = C.BGE_OUTPUT_DENSE
	// OutputSparse is a weight for each token that a text contains.
	OutputSparse Output = C.BGE_OUTPUT_SPARSE
	// OutputMulti is a vector for each token of a text (ColBERT).
	OutputMulti Output = C.BGE_OUTPUT_MULTI
	// OutputTokens is the final state of each token of a text.
	OutputTokens Output = C.BGE_OUTPUT_TOKENS
)

// Info describes a model.
type Info struct {
	// Outputs that the model can compute.
	Outputs Output
	// DenseDim is the length of a dense vector, MultiDim of a row of a
	// multi-vector, TokenDim of a token embedding. Zero: the model has none.
	DenseDim, MultiDim, TokenDim int
	VocabSize                    int
	// MaxTokens is the longest text in tokens, the special ones included.
	MaxTokens, Threads, MaxBatchTokens int
	Pooling, Precision                 string
	// Device is where inference runs, and Runtime the library that runs it.
	Device, Runtime string
	// Similarity is the metric that the model's author configured.
	Similarity Metric
}

// Stats are totals since Open.
type Stats struct {
	Calls, Failures, Cancellations uint64
	// Texts and tokens that went through the model, and their batches.
	Texts, Tokens, Batches uint64
	// Tokenize is summed over all threads; Inference is the time of the batches.
	Tokenize, Inference time.Duration
	// NotFinite is the number of texts that failed with ErrNotFinite.
	NotFinite uint64
	// Dropped is the number of calls that ended before a batch that, by the rate of
	// the last batches, would have ended after their deadline. They count as
	// cancellations.
	Dropped uint64
}

const (
	// The most calls of a model in the library at once: the capacity of its queue.
	// Further calls wait in this package.
	mostCalls = 1024
	// Calls of a model that occupy an OS thread each until they end. More would gain
	// nothing: one of them computes while the others wait.
	directCalls = 2
	// The least number of calls that tokenize at once, on the threads that call.
	// More than GOMAXPROCS would only take turns.
	leastStarts = 4
)

// The number of models and switches that are not released. Tests look for leaks by
// it.
var handles atomic.Int64

// Model is an open model.
type Model struct {
	handle *C.bge_model
	info   Info
	// Semaphores: calls in the library, those of them that occupy a thread, and
	// those that tokenize.
	slots, direct, starts chan struct{}
	cleanup               runtime.Cleanup

	mutex  sync.Mutex
	closed chan struct{}
	// The switches of the calls under way.
	calls map[*C.bge_cancel]struct{}
	ended sync.WaitGroup
}

var _ io.Closer = (*Model)(nil)

// Open loads the model in the directory path. Options may be nil. Open once and
// share the model: this takes up to seconds.
func Open(path string, options *OpenOptions) (*Model, error) {
	if version := uint32(C.bge_version()); version/1000 != C.BGE_VERSION/1000 {
		return nil, &Error{Code: CodeUnsupported, TextIndex: NoText, Message: fmt.Sprintf(
			"the libbge that was loaded is %d.%d, and this package is for %d.%d",
			version/1000000, version/1000%1000, C.BGE_VERSION_MAJOR, C.BGE_VERSION_MINOR)}
	}
	var strings cStrings
	defer strings.free()
	c := C.bge_go_open_options()
	c.queue_capacity = mostCalls
	if options != nil {
		c.runtime_library = strings.add(options.RuntimeLibrary)
		c.device = C.bge_device(options.Device)
		c.device_index = C.uint32_t(options.DeviceIndex)
		c.device_count = C.uint32_t(options.DeviceCount)
		c.threads = C.uint32_t(options.Threads)
		c.max_tokens = C.uint32_t(options.MaxTokens)
		c.max_batch_tokens = C.uint32_t(options.MaxBatchTokens)
		c.heads_dir = strings.add(options.HeadsDir)
		c.onnx_file = strings.add(options.ONNXFile)
		c.compute_type = C.bge_compute_type(options.ComputeType)
		c.cache_dir = strings.add(options.CacheDir)
		c.max_run_bytes = C.uint64_t(options.MaxRunBytes)
		if options.SmallMemory {
			c.flags |= C.BGE_OPEN_SMALL_MEMORY
		}
		if options.RawTokenizer {
			c.flags |= C.BGE_OPEN_RAW_TOKENIZER
		}
	}
	cPath := strings.add(path)
	if strings.hasNUL {
		return nil, invalid("a path has a NUL byte in it")
	}
	if cPath == nil {
		return nil, invalid("the path of the model is empty")
	}
	var handle *C.bge_model
	var cause C.bge_error
	if status := C.bge_open(cPath, &c, &handle, &cause); status != C.BGE_OK {
		return nil, newError(&cause)
	}
	handles.Add(1)
	model := &Model{
		handle: handle,
		slots:  make(chan struct{}, mostCalls),
		direct: make(chan struct{}, directCalls),
		starts: make(chan struct{}, max(leastStarts, runtime.GOMAXPROCS(0))),
		closed: make(chan struct{}),
		calls:  make(map[*C.bge_cancel]struct{}),
	}
	info := C.bge_go_info()
	if status := C.bge_get_info(handle, &info, &cause); status != C.BGE_OK {
		release(handle)
		return nil, newError(&cause)
	}
	model.info = Info{
		Outputs:  Output(info.outputs),
		DenseDim: int(info.dense_dim), MultiDim: int(info.multi_dim), TokenDim: int(info.token_dim),
		VocabSize: int(info.vocab_size), MaxTokens: int(info.max_tokens),
		Threads: int(info.threads), MaxBatchTokens: int(info.max_batch_tokens),
		Pooling: C.GoString(info.pooling), Precision: C.GoString(info.precision),
		Device: C.GoString(info.device), Runtime: C.GoString(info.runtime),
		Similarity: Metric(info.similarity),
	}
	// Closes a model that was forgotten. While a call is under way, its goroutine
	// keeps the model alive.
	model.cleanup = runtime.AddCleanup(model, release, handle)
	return model, nil
}

func release(handle *C.bge_model) {
	C.bge_close(handle)
	handles.Add(-1)
}

// Close ends the calls under way with ErrClosed, waits for them, and
// releases the model. Closing again does nothing. It always returns nil.
func (m *Model) Close() error {
	m.mutex.Lock()
	select {
	case <-m.closed:
		m.mutex.Unlock()
		m.ended.Wait()
		return nil
	default:
	}
	close(m.closed)
	for cancel := range m.calls {
		C.bge_cancel_trigger(cancel)
	}
	m.mutex.Unlock()
	m.ended.Wait()
	m.cleanup.Stop()
	release(m.handle)
	return nil
}

// enter keeps the model open until leave, or fails if it is closed.
func (m *Model) enter() error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	select {
	case <-m.closed:
		return closedError()
	default:
		m.ended.Add(1)
		return nil
	}
}

func (m *Model) leave() { m.ended.Done() }

// Info describes the model, also when it is closed.
func (m *Model) Info() Info { return m.info }

// Stats reads the model's counters.
func (m *Model) Stats() (Stats, error) {
	if err := m.enter(); err != nil {
		return Stats{}, err
	}
	defer m.leave()
	stats := C.bge_go_stats()
	var cause C.bge_error
	if status := C.bge_get_stats(m.handle, &stats, &cause); status != C.BGE_OK {
		return Stats{}, newError(&cause)
	}
	return Stats{
		Calls: uint64(stats.calls), Failures: uint64(stats.failures),
		Cancellations: uint64(stats.cancellations),
		Texts:         uint64(stats.texts), Tokens: uint64(stats.tokens), Batches: uint64(stats.batches),
		Tokenize: time.Duration(stats.tokenize_ns), Inference: time.Duration(stats.inference_ns),
		NotFinite: uint64(stats.not_finite), Dropped: uint64(stats.dropped),
	}, nil
}

// Fingerprint returns a string that differs whenever the same text could have a
// different vector. Keep it beside your vectors. The first call reads all weights.
func (m *Model) Fingerprint() (string, error) {
	if err := m.enter(); err != nil {
		return "", err
	}
	defer m.leave()
	var fingerprint *C.char
	var cause C.bge_error
	if status := C.bge_get_fingerprint(m.handle, &fingerprint, &cause); status != C.BGE_OK {
		return "", newError(&cause)
	}
	return C.GoString(fingerprint), nil
}

// TokenText returns the text of a token, where U+2581 stands for a space; false
// if the model has no such token, or is closed.
func (m *Model) TokenText(id uint32) (string, bool) {
	if m.enter() != nil {
		return "", false
	}
	defer m.leave()
	text := C.bge_token_text(m.handle, C.uint32_t(id))
	if text == nil {
		return "", false
	}
	return C.GoString(text), true
}

// Version returns the version of the library, e.g. "0.1.0 (9f2c1d3)".
func Version() string { return C.GoString(C.bge_version_string()) }

// cStrings are copies of Go strings that end in NUL.
type cStrings struct {
	made   []*C.char
	hasNUL bool
}

// add copies a string; an empty one is nil, the default.
func (s *cStrings) add(text string) *C.char {
	if text == "" {
		return nil
	}
	for i := range len(text) {
		if text[i] == 0 {
			s.hasNUL = true
		}
	}
	c := C.CString(text)
	s.made = append(s.made, c)
	return c
}

func (s *cStrings) free() {
	for _, c := range s.made {
		C.free(unsafe.Pointer(c))
	}
}
