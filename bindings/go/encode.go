package bge

/*
#include <bge.h>
#include <stdint.h>
#include <stdlib.h>

void bgeGoDone(uintptr_t handle, bge_status status, bge_error *cause);

static void bge_go_done(void *handle, bge_status status, const bge_error *cause) {
    bgeGoDone((uintptr_t)handle, status, (bge_error *)cause);
}
static bge_status bge_go_encode_async(const bge_model *model, char **texts, const size_t *lengths, size_t count,
                                      const bge_encode_options *options, bge_embeddings *out, uintptr_t handle,
                                      bge_error *cause) {
    return bge_encode_async(model, (const char *const *)texts, lengths, count, options, out, bge_go_done,
                            (void *)handle, cause);
}
static bge_encode_options bge_go_encode_options(void) { bge_encode_options o = BGE_ENCODE_OPTIONS_INIT; return o; }
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

// EncodeOptions says how to encode: bge_encode_options. A zero member has its
// default.
type EncodeOptions struct {
	// Normalize scales dense vectors to length 1 even if the model does not.
	Normalize bool
	// RejectLong fails with ErrTextTooLong instead of cutting a text.
	RejectLong bool
	// Strip removes white space around each text first.
	Strip bool
	// MaxTokens cuts texts at this many tokens.
	MaxTokens uint32
	// Timeout is how long the call may take, waiting included, beside what the
	// context says.
	Timeout time.Duration
	// Prompt names a prompt of the model to put in front of each text. Nil: the
	// model's default. The empty name: none.
	Prompt *string
	// TruncateDim gives the first so many numbers of each dense vector.
	TruncateDim uint32
	// FaultsApart tells faults of single texts in Embeddings.Errors instead of
	// failing the call. Only EncodeOutputs looks at it.
	FaultsApart bool
}

// Embeddings are the results of EncodeOutputs, in the order of the texts. What
// was not asked for is nil.
type Embeddings struct {
	// Dense has a vector for each text.
	Dense  [][]float32
	Sparse []Sparse
	// Multi has a row for each token of a text but the first.
	Multi []Matrix
	// Tokens has a row for each token of a text.
	Tokens []Matrix
	// TokenCounts is how many tokens of each text were encoded.
	TokenCounts []uint32
	// Truncated says for each text whether it was cut.
	Truncated []bool
	// Errors has what is wrong with each text alone, or nil, if the faults were
	// to be told apart.
	Errors []error
}

// Sparse is the weights of the tokens of a text. IDs ascend.
type Sparse struct {
	IDs     []uint32
	Weights []float32
}

// Matrix is rows of Dim numbers, one after another.
type Matrix struct {
	Data []float32
	Dim  int
}

// Rows is how many rows there are.
func (m Matrix) Rows() int {
	if m.Dim == 0 {
		return 0
	}
	return len(m.Data) / m.Dim
}

// Row is row i, in place.
func (m Matrix) Row(i int) []float32 { return m.Data[i*m.Dim : (i+1)*m.Dim : (i+1)*m.Dim] }

// Encode gives a dense vector for each text. The vectors share one block of
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

// EncodeInto writes a dense vector for each text to dense, one after another:
// as many numbers as the DenseDim of Info, or as the TruncateDim of the options,
// for each. If it fails, dense holds nothing of use.
func (m *Model) EncodeInto(ctx context.Context, texts []string, dense []float32, options *EncodeOptions) error {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	out := C.bge_go_embeddings()
	out.dense_capacity = C.size_t(len(dense))
	if len(dense) == 0 {
		// Wanted all the same: the library says how much room there should be.
		dense = make([]float32, 1)
	}
	out.dense = (*C.float)(pin(&pinner, dense))
	return m.encode(ctx, &pinner, texts, options, &out)
}

// EncodeOutputs gives the outputs that are asked for, in one pass.
func (m *Model) EncodeOutputs(ctx context.Context, texts []string, outputs Output, options *EncodeOptions) (*Embeddings, error) {
	most := uint64(m.info.MaxTokens)
	if options != nil && options.MaxTokens != 0 {
		most = uint64(options.MaxTokens)
	}
	most *= uint64(len(texts))
	room := uint64(0)
	if outputs&(OutputSparse|OutputMulti|OutputTokens) != 0 {
		tokens, err := m.countForRoom(texts, options)
		if err != nil {
			return nil, err
		}
		room = min(tokens, most)
	}
	for {
		result, err := m.encodeWithRoom(ctx, texts, outputs, options, int(room))
		// A prompt has tokens of its own. This is noticed before any inference.
		if room >= most || !errors.Is(err, ErrBufferTooSmall) {
			return result, err
		}
		room = min(most, room*2+64)
	}
}

func (m *Model) encodeWithRoom(ctx context.Context, texts []string, outputs Output, options *EncodeOptions, room int) (*Embeddings, error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	n := len(texts)
	out := C.bge_go_embeddings()
	counts, cut := make([]uint32, n), make([]uint8, n)
	out.token_counts = (*C.uint32_t)(pin(&pinner, counts))
	out.truncated = (*C.uint8_t)(pin(&pinner, cut))
	var statuses []C.bge_status
	if options != nil && options.FaultsApart {
		statuses = make([]C.bge_status, n)
		out.statuses = (*C.bge_status)(pin(&pinner, statuses))
	}
	var dim int
	var dense []float32
	if outputs&OutputDense != 0 {
		var err error
		if dim, err = m.denseDim(options); err != nil {
			return nil, err
		}
		dense = make([]float32, n*dim)
		out.dense = (*C.float)(pin(&pinner, dense))
		out.dense_capacity = C.size_t(len(dense))
	}
	var ids []uint32
	var weights []float32
	var sparseOffsets, multiOffsets, tokenOffsets []uint64
	if outputs&OutputSparse != 0 {
		ids, weights, sparseOffsets = make([]uint32, room), make([]float32, room), make([]uint64, n+1)
		out.sparse_offsets = (*C.uint64_t)(pin(&pinner, sparseOffsets))
		out.sparse_ids = (*C.uint32_t)(pin(&pinner, ids))
		out.sparse_weights = (*C.float)(pin(&pinner, weights))
		out.sparse_capacity = C.size_t(room)
	}
	var multi, tokens []float32
	if outputs&OutputMulti != 0 {
		multi, multiOffsets = make([]float32, room*m.info.MultiDim), make([]uint64, n+1)
		out.multi_offsets = (*C.uint64_t)(pin(&pinner, multiOffsets))
		out.multi = (*C.float)(pin(&pinner, multi))
		out.multi_capacity = C.size_t(len(multi))
	}
	if outputs&OutputTokens != 0 {
		tokens, tokenOffsets = make([]float32, room*m.info.TokenDim), make([]uint64, n+1)
		out.token_offsets = (*C.uint64_t)(pin(&pinner, tokenOffsets))
		out.token_embeddings = (*C.float)(pin(&pinner, tokens))
		out.token_embeddings_capacity = C.size_t(len(tokens))
	}
	if err := m.encode(ctx, &pinner, texts, options, &out); err != nil {
		return nil, err
	}
	result := &Embeddings{TokenCounts: counts, Truncated: make([]bool, n)}
	for i, cut := range cut {
		result.Truncated[i] = cut != 0
	}
	if outputs&OutputDense != 0 {
		result.Dense = rows(dense, dim)
	}
	if statuses != nil {
		result.Errors = make([]error, n)
		for i, status := range statuses {
			if status != C.BGE_OK {
				code := Code(status)
				result.Errors[i] = &Error{Code: code, Message: "text " + code.String(), TextIndex: i}
			}
		}
	}
	if outputs&OutputSparse != 0 {
		result.Sparse = make([]Sparse, n)
		for i := range n {
			from, to := sparseOffsets[i], sparseOffsets[i+1]
			result.Sparse[i] = Sparse{IDs: ids[from:to:to], Weights: weights[from:to:to]}
		}
	}
	if outputs&OutputMulti != 0 {
		result.Multi = matrices(multi, multiOffsets, m.info.MultiDim)
	}
	if outputs&OutputTokens != 0 {
		result.Tokens = matrices(tokens, tokenOffsets, m.info.TokenDim)
	}
	return result, nil
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

// countForRoom is the tokens of all texts; of those that can be read, if the
// fault of another is to be told apart.
func (m *Model) countForRoom(texts []string, options *EncodeOptions) (uint64, error) {
	sum := uint64(0)
	counts, err := m.CountTokens(texts)
	if err == nil {
		for _, count := range counts {
			sum += uint64(count)
		}
		return sum, nil
	}
	var cause *Error
	apart := options != nil && options.FaultsApart
	if !apart || !errors.As(err, &cause) || cause.TextIndex == NoText {
		return 0, err
	}
	for i := range texts {
		if counts, err := m.CountTokens(texts[i : i+1]); err == nil {
			sum += uint64(counts[0])
		}
	}
	return sum, nil
}

// denseDim is how long the vectors of a call are. What the model cannot make is
// refused by the library, asked with no text before memory is taken for it.
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

// encode is bge_encode. The memory that out points at is pinned already.
//
// It is done by bge_encode_async, so that a goroutine that waits keeps no thread.
// But the first few calls at a time are made by bge_encode, which may compute on
// the thread that calls and then needs no other.
func (m *Model) encode(ctx context.Context, pinner *runtime.Pinner, texts []string, options *EncodeOptions, out *C.bge_embeddings) error {
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
	// The library is told of a context that ends by another goroutine, and a short
	// call may be over by then.
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
		err = m.encodeHere(ctx, pointers, lengths, len(texts), &c, out)
	} else {
		// Until it has ended, the library keeps pointers to these, too.
		pinner.Pin(&c)
		pinner.Pin(out)
		if len(texts) != 0 {
			pinner.Pin(pointers)
			pinner.Pin(lengths)
		}
		done := make(chan *Error, 1)
		handle := cgo.NewHandle(done)
		defer handle.Delete()
		var cause C.bge_error
		status := C.bge_go_encode_async(m.handle, pointers, lengths, C.size_t(len(texts)), &c, out, C.uintptr_t(handle), &cause)
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

// take waits for a place among so many calls, unless the call is over before.
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

// encodeHere keeps the thread until the call has ended.
func (m *Model) encodeHere(ctx context.Context, texts **C.char, lengths *C.size_t, count int, c *C.bge_encode_options, out *C.bge_embeddings) *Error {
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
	if status := C.bge_encode(m.handle, texts, lengths, C.size_t(count), c, out, &cause); status != C.BGE_OK {
		return newError(&cause)
	}
	return nil
}

// wait is for the end of a call, also when it is stopped: before that, its memory
// is the library's.
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

// register lets Close stop a call, unless it has begun already.
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

// stopped adds why the context ended to an error of a call that it stopped. A
// deadline is a timeout, whether the library's clock or the context's was first.
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

// milliseconds rounds up, and stops at the most that an option can hold.
func milliseconds(d time.Duration) C.uint32_t {
	if d <= 0 {
		return 0
	}
	return C.uint32_t(min((d+time.Millisecond-1)/time.Millisecond, math.MaxUint32))
}

// pin keeps a slice in its place and gives its address; nil if it is empty.
func pin[T any](pinner *runtime.Pinner, slice []T) unsafe.Pointer {
	if len(slice) == 0 {
		return nil
	}
	pinner.Pin(unsafe.SliceData(slice))
	return unsafe.Pointer(unsafe.SliceData(slice))
}

// pinTexts gives the texts as bge_encode takes them, in place.
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

// rows cuts a block into vectors of dim numbers that share it.
func rows(block []float32, dim int) [][]float32 {
	if dim == 0 {
		return nil
	}
	vectors := make([][]float32, len(block)/dim)
	for i := range vectors {
		vectors[i] = block[i*dim : (i+1)*dim : (i+1)*dim]
	}
	return vectors
}

func matrices(block []float32, offsets []uint64, dim int) []Matrix {
	list := make([]Matrix, len(offsets)-1)
	for i := range list {
		from, to := int(offsets[i])*dim, int(offsets[i+1])*dim
		list[i] = Matrix{Data: block[from:to:to], Dim: dim}
	}
	return list
}
