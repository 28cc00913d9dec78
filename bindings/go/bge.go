// Package bge makes text embeddings of BAAI/bge-m3 and its fine-tunes in this
// process, through libbge's C interface.
//
//	model, err := bge.Open("bge-m3", nil)
//	if err != nil {
//		return err
//	}
//	defer model.Close()
//	vectors, err := model.Encode(ctx, []string{"Where is the cat?", "Di mana kucing itu?"}, nil)
//
// What a function does, its limits and its defaults are said in bge.h, under the
// same name with bge_ before it; here is only what differs in Go.
//
// Everything may be used by any number of goroutines at once. Texts of all of
// them share runs of the model, so call Encode from where the texts are, rather
// than collect them. A goroutine that waits for the model keeps no OS thread, but
// for a few at a time. A zero option has its default.
//
// Errors are of type *Error, and errors.Is compares them with ErrTimeout and its
// like. A call whose context ends returns an error that also is
// context.Canceled or context.DeadlineExceeded.
//
// A release is the tag bindings/go/v0.1.0 of libbge's repository, and so on. cgo
// finds the library by pkg-config: PKG_CONFIG_PATH names the folder of
// bge.pc, and LD_LIBRARY_PATH or an rpath that of libbge.so.
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

// If the device is not available Open fails; it never falls back to another.
const (
	DeviceCPU  Device = C.BGE_DEVICE_CPU
	DeviceCUDA Device = C.BGE_DEVICE_CUDA
	// DeviceTensorRT runs engines that the command `bge prepare` has built in
	// CacheDir; Open builds none.
	DeviceTensorRT Device = C.BGE_DEVICE_TENSORRT
)

// ComputeType is what weights are multiplied in.
type ComputeType uint32

const (
	// ComputeFP32 is floating point of 32 bits.
	ComputeFP32 ComputeType = C.BGE_COMPUTE_FP32
	// ComputeInt8 is integers of 8 bits, quantized as the model is opened.
	ComputeInt8 ComputeType = C.BGE_COMPUTE_INT8
	// ComputeFP16 is floating point of 16 bits, on a GPU.
	ComputeFP16 ComputeType = C.BGE_COMPUTE_FP16
	// ComputeTF32 is floating point of 32 bits of which products read 19, on a GPU.
	ComputeTF32 ComputeType = C.BGE_COMPUTE_TF32
	// ComputeBF16 is 16 bits with the range of 32, with TensorRT.
	ComputeBF16 ComputeType = C.BGE_COMPUTE_BF16
)

// OpenOptions says how to load a model: bge_open_options. A zero member has its
// default.
type OpenOptions struct {
	// RuntimeLibrary is the path of libonnxruntime.
	RuntimeLibrary string
	Device         Device
	DeviceIndex    uint32
	// DeviceCount is how many GPUs share the work, from DeviceIndex on.
	DeviceCount uint32
	// Threads that a run of the model uses.
	Threads uint32
	// MaxTokens is the longest text in tokens, the special ones included.
	MaxTokens uint32
	// MaxBatchTokens is the most tokens in one run of the model.
	MaxBatchTokens uint32
	// HeadsDir is a folder with sparse_linear and colbert_linear to use in place
	// of the model's own.
	HeadsDir string
	// ONNXFile is an export to run as it is, by its path from the directory.
	ONNXFile    string
	ComputeType ComputeType
	// MaxRunBytes is the most that the runs under way may take beside the model.
	MaxRunBytes uint64
	// CacheDir is a folder to keep packed weights in, which processes share, and
	// where the engines of TensorRT lie.
	CacheDir string
	// SmallMemory leaves the weights in their mapped file.
	SmallMemory bool
	// RawTokenizer runs tokenizer.json as it is, instead of what the version of
	// transformers that the directory names makes of it.
	RawTokenizer bool
}

// Output is a set of the kinds of result that a model can make.
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

// Info is what a model is.
type Info struct {
	// Outputs that the model can make.
	Outputs Output
	// DenseDim is the length of a dense vector, MultiDim of a row of a
	// multi-vector, TokenDim of a token embedding. Zero: the model has none.
	DenseDim, MultiDim, TokenDim int
	VocabSize                    int
	// MaxTokens is the longest text in tokens, the special ones included.
	MaxTokens, Threads, MaxBatchTokens int
	Pooling, Precision                 string
	// Device is where inference runs, and Runtime what runs it.
	Device, Runtime string
	// Similarity is how the model's author compares dense vectors.
	Similarity Metric
}

// Stats are totals since Open.
type Stats struct {
	Calls, Failures, Cancellations uint64
	// Texts and tokens that went through the model, in so many runs of it.
	Texts, Tokens, Batches uint64
	// Tokenize is spent over all threads; a run was under way for Inference.
	Tokenize, Inference time.Duration
	// NotFinite is how many texts failed with ErrNotFinite.
	NotFinite uint64
	// Dropped is how many calls ended before a run that would have ended after
	// their deadline, by the rate of the last runs. They count as cancellations.
	Dropped uint64
}

const (
	// Most calls of a model that are in the library at once, which is as many as
	// its queue holds. What comes on top waits here.
	mostCalls = 1024
	// Calls of a model that keep an OS thread each until they end. More gain
	// nothing: one of them is computing, and the rest wait.
	directCalls = 2
	// Texts are tokenized on the thread that calls, of so many calls at a time at
	// least: with more than there are processors, threads would only take turns.
	leastStarts = 4
)

// How many models and switches of the library are held. Tests look at it for
// what was forgotten.
var handles atomic.Int64

// Model is an open model.
type Model struct {
	handle *C.bge_model
	info   Info
	// The calls that are in the library, of these the ones that keep a thread, and
	// those that tokenize.
	slots, direct, starts chan struct{}
	cleanup               runtime.Cleanup

	mutex  sync.Mutex
	closed chan struct{}
	// The switches of the calls that are under way.
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
	// A net for models that nobody closes. While a call is under way its
	// goroutine keeps the model alive.
	model.cleanup = runtime.AddCleanup(model, release, handle)
	return model, nil
}

func release(handle *C.bge_model) {
	C.bge_close(handle)
	handles.Add(-1)
}

// Close ends the calls that are under way with ErrClosed, waits for them, and
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

// enter keeps the model open until leave, or says that it is closed.
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

// Fingerprint is a text that differs whenever the same text could get another
// vector. Keep it beside your vectors. The first call reads all weights.
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

// TokenText is the text of a token, where U+2581 stands for a space; false if
// the model has no such token, or is closed.
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

// Version is that of the library, as text, e.g. "0.1.0 (9f2c1d3)".
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
