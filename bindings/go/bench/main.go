// Command bench tells what this package adds to a call of C: both encode the
// same texts in turns, with models of their own, and the medians are compared.
//
//	go run ./bench MODEL
package main

/*
#cgo pkg-config: bge
#include <bge.h>
#include <stdlib.h>
#include <time.h>

// One call, timed where no Go is around it. Below zero: it failed.
static double bge_bench_us(const bge_model *model, char **texts, size_t count, float *dense, size_t room) {
    struct timespec from, to;
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    out.dense = dense;
    out.dense_capacity = room;
    clock_gettime(CLOCK_MONOTONIC, &from);
    bge_status status = bge_encode(model, (const char *const *)texts, NULL, count, NULL, &out, NULL);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return status ? -1 : (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3;
}
*/
import "C"

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"time"
	"unsafe"

	bge "github.com/libbge/libbge/bindings/go"
)

const (
	text  = "Orang-orang ada di luar."
	calls = 2000
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: bench MODEL")
	}
	model, err := bge.Open(os.Args[1], nil)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	path := C.CString(os.Args[1])
	defer C.free(unsafe.Pointer(path))
	var inC *C.bge_model
	if C.bge_open(path, nil, &inC, nil) != C.BGE_OK {
		log.Fatal("bge_open failed")
	}
	defer C.bge_close(inC)
	fmt.Print("| texts a call | C us | Go us | difference us |\n|---|---|---|---|\n")
	for _, count := range []int{1, 64} {
		compare(model, inC, count)
	}
}

func compare(model *bge.Model, inC *C.bge_model, count int) {
	// A context that can end, as that of a request can.
	ctx, end := context.WithCancel(context.Background())
	defer end()
	room := count * model.Info().DenseDim
	texts := slices.Repeat([]string{text}, count)
	cTexts := (*[1 << 20]*C.char)(C.malloc(C.size_t(count) * C.size_t(unsafe.Sizeof(uintptr(0)))))[:count]
	defer C.free(unsafe.Pointer(&cTexts[0]))
	for i := range cTexts {
		cTexts[i] = C.CString(text)
		defer C.free(unsafe.Pointer(cTexts[i]))
	}
	dense := (*C.float)(C.malloc(C.size_t(room * 4)))
	defer C.free(unsafe.Pointer(dense))
	var byC, byGo, more []float64
	for range calls {
		us := float64(C.bge_bench_us(inC, &cTexts[0], C.size_t(count), dense, C.size_t(room)))
		if us < 0 {
			log.Fatal("bge_encode failed")
		}
		start := time.Now()
		if _, err := model.Encode(ctx, texts, nil); err != nil {
			log.Fatal(err)
		}
		byC, byGo = append(byC, us), append(byGo, float64(time.Since(start).Nanoseconds())/1000)
		more = append(more, byGo[len(byGo)-1]-us)
	}
	fmt.Printf("| %d | %.1f | %.1f | %.1f |\n", count, median(byC), median(byGo), median(more))
}

func median(numbers []float64) float64 {
	slices.Sort(numbers)
	return numbers[len(numbers)/2]
}
