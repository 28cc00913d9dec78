package bge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// held is what a process has taken and not given back.
type held struct {
	handles, goroutines, objects, heap, resident int64
}

func holds(t *testing.T) held {
	t.Helper()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("this system does not tell how much memory a process has")
	}
	var kilobytes int64
	_, after, _ := bytes.Cut(status, []byte("VmRSS:"))
	if _, err := fmt.Sscan(string(after), &kilobytes); err != nil {
		t.Fatal(err)
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return held{handles.Load(), int64(runtime.NumGoroutine()), int64(stats.HeapObjects), int64(stats.HeapAlloc), kilobytes << 10}
}

func TestTenThousandMixedCalls(t *testing.T) {
	model := open(t, "heads")
	expected := encode(t, model)
	same := func(vectors [][]float32) bool {
		for i, vector := range vectors {
			for j, x := range vector {
				if !(math.Abs(float64(x-expected[i][j])) < 2e-6) {
					return false
				}
			}
		}
		return len(vectors) == len(expected)
	}
	total := int64(10000)
	if testing.Short() {
		total = 1000
	}
	round := func() {
		mixedCalls(t, model, total, same)
		if len(model.calls)+len(model.slots)+len(model.direct)+len(model.starts) != 0 {
			t.Errorf("%d calls and %d, %d and %d places are left", len(model.calls), len(model.slots), len(model.direct), len(model.starts))
		}
	}
	// The first round makes what lasts: threads, and what the C library keeps for
	// each of them.
	round()
	before := holds(t)
	round()
	after := holds(t)
	t.Logf("%+v, and %d calls later %+v", before, total, after)
	if after.handles != before.handles || after.goroutines > before.goroutines {
		t.Errorf("%d handles and %d goroutines became %d and %d", before.handles, before.goroutines, after.handles, after.goroutines)
	}
	// Not an object for ten calls.
	if after.objects-before.objects > 100+total/10 || after.heap-before.heap > 20000+16*total {
		t.Errorf("the heap had %d objects of %d bytes, and has %d of %d", before.objects, before.heap, after.objects, after.heap)
	}
	// What C has freed lies in pieces: 1 KB more for a call of the second round,
	// nothing more by the sixth. A round opens and closes 1,600 models.
	if !testing.Short() && after.resident-before.resident > 2000*total {
		t.Errorf("%d bytes were resident, and %d are", before.resident, after.resident)
	}
}

// mixedCalls makes calls of all kinds from 16 goroutines. Some are stopped, by
// their context or by Close.
func mixedCalls(t *testing.T, model *Model, total int64, same func([][]float32) bool) {
	var made, stopped atomic.Int64
	var workers sync.WaitGroup
	for seed := range 16 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			random := rand.New(rand.NewPCG(uint64(seed), 1))
			for made.Add(1) <= total {
				ctx, end := context.WithCancel(context.Background())
				switch random.IntN(6) {
				case 0:
					if _, err := model.CountTokens(sentences); err != nil {
						t.Error(err)
					}
				case 1:
					all, err := model.EncodeOutputs(ctx, sentences, OutputDense|OutputMulti|OutputSparse, nil)
					if err != nil || !same(all.Dense) {
						t.Error("all outputs", err)
					}
				case 2:
					if random.IntN(2) == 0 {
						go end()
					} else {
						end()
					}
					if vectors, err := model.Encode(ctx, sentences, nil); errors.Is(err, context.Canceled) {
						stopped.Add(1)
					} else if err != nil || !same(vectors) {
						t.Error("stopped", err)
					}
				case 3:
					other, err := Open("../../tests/tiny/cls", nil)
					if err != nil {
						t.Error(err)
						break
					}
					ended := make(chan error, 1)
					go func() { _, err := other.Encode(ctx, sentences, nil); ended <- err }()
					other.Close()
					if err := <-ended; err != nil && !errors.Is(err, ErrClosed) {
						t.Error("closed", err)
					}
				default:
					if vectors, err := model.Encode(ctx, sentences, nil); err != nil || !same(vectors) {
						t.Error(err)
					}
				}
				end()
			}
		}()
	}
	workers.Wait()
	if stopped.Load() == 0 {
		t.Error("no call was stopped")
	}
}

func TestForgottenModelsAreReleased(t *testing.T) {
	mapped := func() int {
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Skip("this system does not list what is mapped")
		}
		return strings.Count(string(maps), "tests/tiny/long/model.safetensors")
	}
	for range 5 {
		if _, err := Open("../../tests/tiny/long", nil); err != nil {
			t.Fatal(err)
		}
	}
	if mapped() == 0 {
		t.Fatal("an open model does not map its weights")
	}
	for deadline := time.Now().Add(20 * time.Second); mapped() != 0; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatalf("%d models are left", mapped())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
