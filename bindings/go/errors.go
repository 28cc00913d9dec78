package bge

/*
#include <bge.h>
*/
import "C"

import "fmt"

// Code is what kind of error an Error is, as in bge.h: 1 to 19 is a mistake in
// the call, 20 to 39 something missing or broken around it, 40 to 59 a call that
// was stopped, 60 and above a fault of the library.
type Code int32

// The codes of bge.h.
const (
	CodeInvalidArgument    Code = C.BGE_ERROR_INVALID_ARGUMENT
	CodeInvalidUTF8        Code = C.BGE_ERROR_INVALID_UTF8
	CodeTextTooLong        Code = C.BGE_ERROR_TEXT_TOO_LONG
	CodeBufferTooSmall     Code = C.BGE_ERROR_BUFFER_TOO_SMALL
	CodeUnsupported        Code = C.BGE_ERROR_UNSUPPORTED
	CodeModelNotFound      Code = C.BGE_ERROR_MODEL_NOT_FOUND
	CodeModelInvalid       Code = C.BGE_ERROR_MODEL_INVALID
	CodeRuntimeUnavailable Code = C.BGE_ERROR_RUNTIME_UNAVAILABLE
	CodeOutOfMemory        Code = C.BGE_ERROR_OUT_OF_MEMORY
	CodeNotFinite          Code = C.BGE_ERROR_NOT_FINITE
	CodeCancelled          Code = C.BGE_ERROR_CANCELLED
	CodeTimeout            Code = C.BGE_ERROR_TIMEOUT
	CodeQueueFull          Code = C.BGE_ERROR_QUEUE_FULL
	CodeClosed             Code = C.BGE_ERROR_CLOSED
	CodeInference          Code = C.BGE_ERROR_INFERENCE
	CodeInternal           Code = C.BGE_ERROR_INTERNAL
)

// String is the name in bge.h, e.g. "BGE_ERROR_TIMEOUT".
func (c Code) String() string { return C.GoString(C.bge_status_name(C.bge_status(c))) }

// NoText is the TextIndex of an error that no single text is to blame for.
const NoText = -1

// Error is what the library says when it fails.
type Error struct {
	Code Code
	// Message is a sentence: what was wrong, the value, the limit, the option.
	Message string
	// TextIndex says which text of the call is at fault, or is NoText.
	TextIndex int
	// RuntimeCode is ONNX Runtime's own code, or zero.
	RuntimeCode int
	// Why the context of the call ended, if that is what stopped it.
	cause error
}

// The errors of each code, for errors.Is.
var (
	ErrInvalidArgument    = sentinel(CodeInvalidArgument)
	ErrInvalidUTF8        = sentinel(CodeInvalidUTF8)
	ErrTextTooLong        = sentinel(CodeTextTooLong)
	ErrBufferTooSmall     = sentinel(CodeBufferTooSmall)
	ErrUnsupported        = sentinel(CodeUnsupported)
	ErrModelNotFound      = sentinel(CodeModelNotFound)
	ErrModelInvalid       = sentinel(CodeModelInvalid)
	ErrRuntimeUnavailable = sentinel(CodeRuntimeUnavailable)
	ErrOutOfMemory        = sentinel(CodeOutOfMemory)
	ErrNotFinite          = sentinel(CodeNotFinite)
	ErrCancelled          = sentinel(CodeCancelled)
	ErrTimeout            = sentinel(CodeTimeout)
	ErrQueueFull          = sentinel(CodeQueueFull)
	ErrClosed             = sentinel(CodeClosed)
	ErrInference          = sentinel(CodeInference)
	ErrInternal           = sentinel(CodeInternal)
)

func sentinel(code Code) error {
	return &Error{Code: code, Message: code.String(), TextIndex: NoText}
}

// Error is the message, after the name of the code.
func (e *Error) Error() string { return fmt.Sprintf("bge: %s (%s)", e.Message, e.Code) }

// Is says whether target is the error of the same code.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

// Unwrap is why the context ended, if that stopped the call.
func (e *Error) Unwrap() error { return e.cause }

func newError(cause *C.bge_error) *Error {
	index := NoText
	if uint64(cause.text_index) != C.BGE_NO_TEXT {
		index = int(cause.text_index)
	}
	return &Error{
		Code: Code(cause.code), Message: C.GoString(&cause.message[0]),
		TextIndex: index, RuntimeCode: int(cause.runtime_code),
	}
}

func invalid(format string, values ...any) *Error {
	return &Error{Code: CodeInvalidArgument, Message: fmt.Sprintf(format, values...), TextIndex: NoText}
}

func closedError() *Error {
	return &Error{Code: CodeClosed, Message: "the model is closed", TextIndex: NoText}
}
