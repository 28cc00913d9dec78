package bge

/*
#include <bge.h>
#include <stdint.h>
#include <stdlib.h>

void bgeGoDone(uintptr_t handle, bge_status status, bge_error *cause);

static void bge_go_done(void *handle, bge_status status, const bge_error *cause) {
    bgeGoDone((uintptr_t)handle, status, (bge_error *)cause);
}
// The results are stored in `result`, with the outputs whose bits are set, or in
// `out` if `result` is NULL.
static bge_status bge_go_encode(const bge_model *model, char **texts, const size_t *lengths, size_t count,
                                const bge_encode_options *options, bge_embeddings *out, uint32_t outputs,
                                bge_encode_result *result, bge_error *cause) {
    const char *const *given = (const char *const *)texts;
    if (result) return bge_encode_alloc(model, given, lengths, count, outputs, options, result, cause);
    return bge_encode(model, given, lengths, count, options, out, cause);
}
static bge_status bge_go_encode_async(const bge_model *model, char **texts, const size_t *lengths, size_t count,
                                      const bge_encode_options *options, bge_embeddings *out, uint32_t outputs,
                                      bge_encode_result *result, uintptr_t handle, bge_error *cause) {
    const char *const *given = (const char *const *)texts;
    if (result)
        return bge_encode_alloc_async(model, given, lengths, count, outputs, options, result, bge_go_done,
                                      (void *)handle, cause);
    return bge_encode_async(model, given, lengths, count, options, out, bge_go_done, (void *)handle, cause);
}
static bge_encode_options bge_go_encode_options(void) { bge_encode_options o = BGE_ENCODE_OPTIONS_INIT; return o; }
static bge_encode_result bge_go_encode_result(void) { bge_encode_result r = BGE_ENCODE_RESULT_INIT; return r; }
static bge_embeddings bge_go_embeddings(void) { bge_embeddings e = BGE_EMBEDDINGS_INIT; return e; }
*/
import "C"

import (
	"context"
	"errors"
	"math"
	"runtime"
	"runtime/cgo"
	"time"
	"unsafe"
)

// Encode returns a dense vector for each text. The vectors share one block of
// memory. Options may be nil.
func (m *Model) Encode(ctx context.Context, texts []string, options *EncodeOptions) ([][]float32, error) {
	dim, err := m.denseDim(options)
	if err != nil {
		return nil, err
	}
	dense := make([]float32, len(texts)*dim)
	if err := m.EncodeInto(ctx, texts, dense, options); err != nil {
		return nil, err
	}
	return rows(dense, dim), nil
}

// EncodeInto writes a dense vector for each text to dense, one after another. A
// vector has the DenseDim of Info, or the TruncateDim of the options. If it fails,
// the content of dense is undefined.
func (m *Model) EncodeInto(ctx context.Context, texts []string, dense []float32, options *EncodeOptions) error {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	out := C.bge_go_embeddings()
	out.dense_capacity = C.size_t(len(dense))
	if len(dense) == 0 {
		// Dense vectors are requested all the same: the library reports their size.
		dense = make([]float32, 1)
	}
	out.dense = (*C.float)(pin(&pinner, dense))
	return m.encode(ctx, &pinner, texts, options, destination{embeddings: &out})
}

// EncodeOutputs computes the requested outputs in one pass of the model.
func (m *Model) EncodeOutputs(ctx context.Context, texts []string, outputs Output, options *EncodeOptions) (*Embeddings, error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	result := C.bge_go_encode_result()
	defer C.bge_encode_result_free(&result)
	if err := m.encode(ctx, &pinner, texts, options, destination{result: &result, outputs: outputs}); err != nil {
		return nil, err
	}
	return copied(&result), nil
}

// copied copies the results from the library's memory to Go's.
func copied(result *C.bge_encode_result) *Embeddings {
	n := int(result.count)
	e := &Embeddings{
		TokenCounts: copyOf[uint32](unsafe.Pointer(result.token_counts), n),
		Truncated:   make([]bool, n),
	}
	for i, cut := range unsafe.Slice((*uint8)(result.truncated), n) {
		e.Truncated[i] = cut != 0
	}
	outputs := Output(result.outputs)
	if outputs&OutputDense != 0 {
		dim := int(result.dense_dim)
		e.Dense = rows(copyOf[float32](unsafe.Pointer(result.dense), n*dim), dim)
	}
	if outputs&OutputSparse != 0 {
		offsets := unsafe.Slice((*uint64)(result.sparse_offsets), n+1)
		ids := copyOf[uint32](unsafe.Pointer(result.sparse_ids), int(offsets[n]))
		weights := copyOf[float32](unsafe.Pointer(result.sparse_weights), int(offsets[n]))
		e.Sparse = make([]SparseWeights, n)
		for i := range n {
			from, to := offsets[i], offsets[i+1]
			e.Sparse[i] = SparseWeights{IDs: ids[from:to:to], Weights: weights[from:to:to]}
		}
	}
	vectors := func(block *C.float, offsets *C.uint64_t, dim C.size_t) []TokenVectors {
		boundaries := unsafe.Slice((*uint64)(offsets), n+1)
		return tokenVectors(copyOf[float32](unsafe.Pointer(block), int(boundaries[n])*int(dim)), boundaries, int(dim))
	}
	if outputs&OutputMulti != 0 {
		e.Multi = vectors(result.multi, result.multi_offsets, result.multi_dim)
	}
	if outputs&OutputTokens != 0 {
		e.Tokens = vectors(result.token_embeddings, result.token_offsets, result.token_dim)
	}
	if result.statuses != nil {
		e.Errors = make([]error, n)
		failed := unsafe.Slice(result.errors, int(result.error_count))
		for i := range failed {
			err := newError(&failed[i])
			e.Errors[err.TextIndex] = err
		}
	}
	return e
}

// copyOf copies an array of the library, which is nil if it has no element.
func copyOf[T any](array unsafe.Pointer, length int) []T {
	return append(make([]T, 0, length), unsafe.Slice((*T)(array), length)...)
}

// CountTokens counts the tokens of each text, the special ones included, before
// any cutting and without any prompt.
func (m *Model) CountTokens(texts []string) ([]uint32, error) {
	if err := m.enter(); err != nil {
		return nil, err
	}
	defer m.leave()
	if err := m.take(context.Background(), m.starts, nil); err != nil {
		return nil, err
	}
	defer m.give(m.starts)
	var pinner runtime.Pinner
	defer pinner.Unpin()
	pointers, lengths := pinTexts(&pinner, texts)
	counts := make([]uint32, len(texts))
	var cause C.bge_error
	status := C.bge_count_tokens(m.handle, pointers, lengths, C.size_t(len(texts)),
		(*C.uint32_t)(unsafe.Pointer(unsafe.SliceData(counts))), &cause)
	if status != C.BGE_OK {
		return nil, newError(&cause)
	}
	return counts, nil
}

// denseDim is the dimension of the vectors of a call. A call without texts has the
// library refuse one that is too large, before memory is allocated for it.
func (m *Model) denseDim(options *EncodeOptions) (int, error) {
	if options == nil || options.TruncateDim == 0 {
		return m.info.DenseDim, nil
	}
	dim := int(options.TruncateDim)
	if dim > m.info.DenseDim {
		if err := m.EncodeInto(context.Background(), nil, nil, options); err != nil {
			return 0, err
		}
	}
	return dim, nil
}

// destination receives the results of a call: either memory of Go, which is pinned
// already, or a result that the library allocates.
type destination struct {
	embeddings *C.bge_embeddings
	result     *C.bge_encode_result
	outputs    Output
}

// encode calls bge_encode or bge_encode_alloc.
//
// Most calls are asynchronous to the library, so that a goroutine that waits
// occupies no thread. The first few calls at a time block, and may then compute on
// the calling thread, which saves a change of threads.
func (m *Model) encode(ctx context.Context, pinner *runtime.Pinner, texts []string, options *EncodeOptions, to destination) error {
	if err := m.enter(); err != nil {
		return err
	}
	defer m.leave()
	began := time.Now()
	var late <-chan time.Time
	if options != nil && options.Timeout != 0 {
		if options.Timeout < 0 {
			return invalid("the Timeout is %v, below 0", options.Timeout)
		}
		timer := time.NewTimer(options.Timeout)
		defer timer.Stop()
		late = timer.C
	}
	if err := m.take(ctx, m.slots, late); err != nil {
		return err
	}
	defer m.give(m.slots)
	here := false
	select {
	case m.direct <- struct{}{}:
		defer m.give(m.direct)
		here = true
	default:
		if err := m.take(ctx, m.starts, late); err != nil {
			return err
		}
	}
	starting := !here
	defer func() {
		if starting {
			m.give(m.starts)
		}
	}()
	// Another goroutine triggers the switch when the context ends, and a short call
	// may be over by then.
	if ctx.Err() != nil {
		return stopped(ctx, &Error{Code: CodeCancelled, Message: "the context had ended before the call", TextIndex: NoText})
	}
	c := C.bge_go_encode_options()
	if options != nil {
		if options.Normalize {
			c.flags |= C.BGE_ENCODE_NORMALIZE
		}
		if options.RejectLong {
			c.flags |= C.BGE_ENCODE_REJECT_LONG
		}
		if options.Strip {
			c.flags |= C.BGE_ENCODE_STRIP
		}
		if options.PerTextErrors && to.result != nil {
			c.flags |= C.BGE_ENCODE_PER_TEXT_ERRORS
		}
		c.max_tokens = C.uint32_t(options.MaxTokens)
		c.truncate_dim = C.uint32_t(options.TruncateDim)
		if options.Timeout > 0 {
			// At least 1: zero would mean no limit.
			c.timeout_ms = max(milliseconds(options.Timeout-time.Since(began)), 1)
		}
		if options.Prompt != nil {
			name := C.CString(*options.Prompt)
			defer C.free(unsafe.Pointer(name))
			c.prompt_name = name
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := max(milliseconds(time.Until(deadline)), 1)
		if c.timeout_ms == 0 || left < c.timeout_ms {
			c.timeout_ms = left
		}
	}
	cancel := C.bge_cancel_new()
	if cancel == nil {
		return &Error{Code: CodeOutOfMemory, Message: "no memory for a call", TextIndex: NoText}
	}
	handles.Add(1)
	if !m.register(cancel) {
		free(cancel)
		return closedError()
	}
	defer m.unregister(cancel)
	c.cancel = cancel
	pointers, lengths := pinTexts(pinner, texts)
	var err *Error
	if here {
		err = m.encodeHere(ctx, pointers, lengths, len(texts), &c, to)
	} else {
		// The library keeps pointers to these, too, until the call has ended.
		pinner.Pin(&c)
		if to.result != nil {
			pinner.Pin(to.result)
		} else {
			pinner.Pin(to.embeddings)
		}
		if len(texts) != 0 {
			pinner.Pin(pointers)
			pinner.Pin(lengths)
		}
		done := make(chan *Error, 1)
		handle := cgo.NewHandle(done)
		defer handle.Delete()
		var cause C.bge_error
		status := C.bge_go_encode_async(m.handle, pointers, lengths, C.size_t(len(texts)), &c,
			to.embeddings, C.uint32_t(to.outputs), to.result, C.uintptr_t(handle), &cause)
		starting = false
		m.give(m.starts)
		if status == C.BGE_OK {
			err = wait(ctx, done, cancel)
		} else {
			err = newError(&cause)
		}
	}
	if err == nil {
		return nil
	}
	select {
	case <-m.closed:
		if err.Code == CodeCancelled && ctx.Err() == nil {
			return closedError()
		}
	default:
	}
	return stopped(ctx, err)
}

// take acquires a semaphore, unless the call ends first.
func (m *Model) take(ctx context.Context, places chan struct{}, late <-chan time.Time) error {
	select {
	case places <- struct{}{}:
		return nil
	default:
	}
	select {
	case places <- struct{}{}:
		return nil
	case <-m.closed:
		return closedError()
	case <-ctx.Done():
		return stopped(ctx, &Error{Code: CodeCancelled, Message: "the context ended while the call waited", TextIndex: NoText})
	case <-late:
		return &Error{Code: CodeTimeout, Message: "the Timeout was over before the call began", TextIndex: NoText}
	}
}

func (m *Model) give(places chan struct{}) { <-places }

// encodeHere occupies its thread until the call has ended.
func (m *Model) encodeHere(ctx context.Context, texts **C.char, lengths *C.size_t, count int, c *C.bge_encode_options, to destination) *Error {
	if ctx.Done() != nil {
		cancel := c.cancel
		triggered := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			C.bge_cancel_trigger(cancel)
			close(triggered)
		})
		defer func() {
			if !stop() {
				<-triggered
			}
		}()
	}
	var cause C.bge_error
	status := C.bge_go_encode(m.handle, texts, lengths, C.size_t(count), c, to.embeddings, C.uint32_t(to.outputs), to.result, &cause)
	if status != C.BGE_OK {
		return newError(&cause)
	}
	return nil
}

// wait returns when a call has ended, even if it is stopped: the library uses its
// memory until then.
func wait(ctx context.Context, done <-chan *Error, cancel *C.bge_cancel) *Error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		C.bge_cancel_trigger(cancel)
		return <-done
	}
}

//export bgeGoDone
func bgeGoDone(handle C.uintptr_t, status C.bge_status, cause *C.bge_error) {
	done := cgo.Handle(handle).Value().(chan *Error)
	if status == C.BGE_OK {
		done <- nil
	} else {
		done <- newError(cause)
	}
}

// register lets Close stop a call, unless Close has begun already.
func (m *Model) register(cancel *C.bge_cancel) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	select {
	case <-m.closed:
		return false
	default:
		m.calls[cancel] = struct{}{}
		return true
	}
}

func (m *Model) unregister(cancel *C.bge_cancel) {
	m.mutex.Lock()
	delete(m.calls, cancel)
	m.mutex.Unlock()
	free(cancel)
}

func free(cancel *C.bge_cancel) {
	C.bge_cancel_free(cancel)
	handles.Add(-1)
}

// stopped adds the cause of the context to the error of a call that it stopped. A
// deadline is a timeout, whichever of the library's clock and the context's was
// first.
func stopped(ctx context.Context, err *Error) error {
	switch {
	case err.Code == CodeCancelled && errors.Is(ctx.Err(), context.DeadlineExceeded):
		err.Code, err.Message, err.cause = CodeTimeout, "the deadline of the context passed", ctx.Err()
	case err.Code == CodeCancelled && ctx.Err() != nil:
		err.cause = ctx.Err()
	case err.Code == CodeTimeout:
		// The library's clock may be a moment before the context's.
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < 2*time.Millisecond {
			err.cause = context.DeadlineExceeded
		}
	}
	return err
}

// milliseconds rounds up, to at most the maximum of an option.
func milliseconds(d time.Duration) C.uint32_t {
	if d <= 0 {
		return 0
	}
	return C.uint32_t(min((d+time.Millisecond-1)/time.Millisecond, math.MaxUint32))
}

// pin pins a slice and returns its address; nil if it is empty.
func pin[T any](pinner *runtime.Pinner, slice []T) unsafe.Pointer {
	if len(slice) == 0 {
		return nil
	}
	pinner.Pin(unsafe.SliceData(slice))
	return unsafe.Pointer(unsafe.SliceData(slice))
}

// pinTexts returns pointers and lengths of the texts for bge_encode, and pins them.
func pinTexts(pinner *runtime.Pinner, texts []string) (**C.char, *C.size_t) {
	if len(texts) == 0 {
		return nil, nil
	}
	pointers, lengths := make([]*C.char, len(texts)), make([]C.size_t, len(texts))
	for i, text := range texts {
		if len(text) != 0 {
			pinner.Pin(unsafe.StringData(text))
			pointers[i] = (*C.char)(unsafe.Pointer(unsafe.StringData(text)))
		}
		lengths[i] = C.size_t(len(text))
	}
	return unsafe.SliceData(pointers), unsafe.SliceData(lengths)
}
