// Command go-embeddings-server answers OpenAI's POST /v1/embeddings from a model in its own process.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	bge "github.com/libbge/libbge/bindings/go"
)

type object = map[string]any

func main() {
	address := flag.String("addr", "localhost:8080", "where to listen")
	limit := flag.Duration("timeout", time.Minute, "how long a request may take")
	flag.Parse()
	model, err := bge.Open(flag.Arg(0), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	http.HandleFunc("POST /v1/embeddings", func(w http.ResponseWriter, r *http.Request) {
		// The call to the model ends when the time is over or the client has gone.
		ctx, end := context.WithTimeout(r.Context(), *limit)
		defer end()
		status := http.StatusOK
		answer, err := embeddings(ctx, model, http.MaxBytesReader(w, r.Body, 8<<20))
		if err != nil {
			status, answer = failure(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(answer)
	})
	server := &http.Server{Addr: *address, ReadTimeout: *limit, WriteTimeout: 2 * *limit}
	go func() {
		if err := server.ListenAndServe(); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	signaled, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	<-signaled.Done()
	stop() // A second signal ends the process at once; after the first, requests get their answers.
	server.Shutdown(context.Background())
}

func embeddings(ctx context.Context, model *bge.Model, body io.Reader) (object, error) {
	var request struct {
		Model          string `json:"model"`
		Input          any    `json:"input"`
		EncodingFormat string `json:"encoding_format"`
		Dimensions     uint32 `json:"dimensions"`
	}
	if err := json.NewDecoder(body).Decode(&request); err != nil {
		return nil, fmt.Errorf("the request cannot be read: %w", err)
	}
	format := request.EncodingFormat
	if format != "" && format != "float" && format != "base64" {
		return nil, fmt.Errorf(`encoding_format is %q, and must be "float" or "base64"`, format)
	}
	list, several := request.Input.([]any)
	if !several {
		list = []any{request.Input}
	}
	if len(list) == 0 || len(list) > 2048 {
		return nil, fmt.Errorf("input has %d texts, and must have 1 to 2048", len(list))
	}
	texts := make([]string, len(list))
	for i, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, errors.New("input must be a string or an array of strings; tokens are not taken")
		}
		texts[i] = text
	}
	// As at OpenAI, vectors have length 1 in any number of dimensions, and no text is cut.
	options := bge.EncodeOptions{Normalize: true, TruncateDim: request.Dimensions, RejectLong: true}
	out, err := model.EncodeOutputs(ctx, texts, bge.OutputDense, &options)
	if err != nil {
		return nil, err
	}
	data, tokens := make([]object, len(texts)), uint32(0)
	for i, vector := range out.Dense {
		data[i] = object{"object": "embedding", "index": i, "embedding": vector}
		if format == "base64" {
			bytes, _ := binary.Append(nil, binary.LittleEndian, vector)
			data[i]["embedding"] = bytes // JSON has bytes in base64.
		}
		tokens += out.TokenCounts[i]
	}
	usage := object{"prompt_tokens": tokens, "total_tokens": tokens}
	return object{"object": "list", "data": data, "model": request.Model, "usage": usage}, nil
}

// failure is the status and OpenAI's object for an error. What does not come from the library is wrong in the request.
func failure(err error) (int, object) {
	status, kind := http.StatusBadRequest, "invalid_request_error"
	message, param, code := err.Error(), any(nil), any(nil)
	var cause *bge.Error
	if errors.As(err, &cause) {
		message, code = cause.Message, cause.Code.String()
		if cause.TextIndex != bge.NoText {
			param = fmt.Sprintf("input[%d]", cause.TextIndex)
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded): // of reading the body
		status = http.StatusRequestTimeout
	case errors.Is(err, context.Canceled): // The client has gone; the number is nginx's.
		status = 499
	case errors.Is(err, bge.ErrTimeout):
		status = http.StatusGatewayTimeout
	case errors.Is(err, bge.ErrQueueFull), errors.Is(err, bge.ErrClosed):
		status = http.StatusServiceUnavailable
	case cause != nil && cause.Code >= bge.CodeModelNotFound: // and so not a mistake of the caller
		status = http.StatusInternalServerError
	}
	if status >= 499 {
		kind = "server_error"
		log.Printf("%d: %v", status, err)
	}
	return status, object{"error": object{"message": message, "type": kind, "param": param, "code": code}}
}
