package bge

/*
#include <bge.h>
*/
import "C"

import "fmt"

// Code is the kind of an Error, as in bge.h: 1 to 19 is a mistake in the call, 20
// to 39 something missing or broken in its environment, 40 to 59 a call that was
// stopped, 60 and above a fault of the library.
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

// String returns the name in bge.h, e.g. "BGE_ERROR_TIMEOUT".
func (c Code) String() string { return C.GoString(C.bge_status_name(C.bge_status(c))) }

// NoText is the TextIndex of an error that is not due to a single text.
const NoText = -1

// Error describes a failure.
type Error struct {
	Code Code
	// Message is a sentence with the value, the limit and the option.
	Message string
	// TextIndex is the index of the text that is at fault, or NoText.
	TextIndex int
	// RuntimeCode is ONNX Runtime's own code, or zero.
	RuntimeCode int
	// The error of the context, if that stopped the call.
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

// Error returns the message and the name of the code.
func (e *Error) Error() string { return fmt.Sprintf("bge: %s (%s)", e.Message, e.Code) }

// Is reports whether target is an error with the same code.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

// Unwrap returns the error of the context, if that stopped the call.
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
