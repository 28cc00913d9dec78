package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"

	bge "github.com/libbge/libbge/bindings/go"
)

// What clients do about an error depends on its status.
func TestStatuses(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
	}{
		{errors.New("wrong input"), 400},
		{bge.ErrInvalidArgument, 400},
		{bge.ErrInvalidUTF8, 400},
		{bge.ErrTextTooLong, 400},
		{bge.ErrUnsupported, 400},
		{fmt.Errorf("reading: %w", os.ErrDeadlineExceeded), 408},
		{fmt.Errorf("reading: %w", &http.MaxBytesError{Limit: 1}), 413},
		{context.Canceled, 499},
		{bge.ErrTimeout, 504},
		{bge.ErrQueueFull, 503},
		{bge.ErrClosed, 503},
		{bge.ErrOutOfMemory, 500},
		{bge.ErrNotFinite, 500},
		{bge.ErrInference, 500},
		{bge.ErrInternal, 500},
	} {
		status, answer := failure(c.err)
		kind := answer["error"].(object)["type"]
		if status != c.status || (kind == "server_error") != (status >= 499) {
			t.Errorf("%v: %d, %v", c.err, status, kind)
		}
	}
}
