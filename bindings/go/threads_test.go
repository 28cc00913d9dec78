package bge

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// threads is how many the process has.
func threads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip("this system does not list threads")
	}
	return len(tasks)
}

func TestGoroutinesThatWaitKeepNoThread(t *testing.T) {
	model, err := Open("../../tests/tiny/heads", &OpenOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	const goroutines = 400
	before := threads(t)
	ctx, end := context.WithCancel(context.Background())
	defer end()
	var calls sync.WaitGroup
	many := slices.Repeat(sentences, 20)
	for i := range goroutines {
		calls.Add(1)
		go func() {
			defer calls.Done()
			for ctx.Err() == nil {
				var err error
				switch i % 3 {
				case 0:
					_, err = model.Encode(ctx, many, nil)
				case 1:
					_, err = model.EncodeOutputs(ctx, many, OutputSparse|OutputMulti, nil)
				default:
					err = model.EncodeInto(ctx, many, make([]float32, len(many)*model.Info().DenseDim), nil)
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		}()
	}
	most, waited := 0, 0
	for stop := time.Now().Add(2 * time.Second); time.Now().Before(stop); time.Sleep(5 * time.Millisecond) {
		most, waited = max(most, threads(t)), max(waited, len(model.slots))
	}
	end()
	calls.Wait()
	t.Logf("%d threads before, %d at most, %d calls at once", before, most, waited)
	if waited < goroutines/2 {
		t.Errorf("no more than %d of %d goroutines waited at once", waited, goroutines)
	}
	// Those of Go itself and of the model are among them.
	if most-before > 40 {
		t.Errorf("%d threads became %d under %d goroutines", before, most, goroutines)
	}
}

// However many calls there are, waiting is no error.
func TestTheQueueIsNeverFull(t *testing.T) {
	model := open(t, "cls")
	var calls sync.WaitGroup
	for range 3 * mostCalls {
		calls.Add(1)
		go func() {
			defer calls.Done()
			if _, err := model.Encode(context.Background(), sentences[:1], nil); err != nil {
				t.Error(err)
			}
		}()
	}
	calls.Wait()
}

func TestCallsThatHaveNotBegunAreStopped(t *testing.T) {
	model := open(t, "cls")
	full := func(places chan struct{}) func() {
		for range cap(places) {
			places <- struct{}{}
		}
		return func() {
			for range cap(places) {
				<-places
			}
		}
	}
	fails := func(is error) {
		t.Helper()
		ctx, end := context.WithCancel(context.Background())
		options := &EncodeOptions{}
		switch is {
		case ErrTimeout:
			options.Timeout = 5 * time.Millisecond
		case ErrClosed:
			time.AfterFunc(5*time.Millisecond, func() { model.Close() })
		default:
			time.AfterFunc(5*time.Millisecond, end)
		}
		defer end()
		if _, err := model.Encode(ctx, sentences, options); !errors.Is(err, is) {
			t.Errorf("%v is not %v", err, is)
		}
	}
	for _, places := range []chan struct{}{model.slots, model.starts} {
		empty := full(places)
		noneDirect := full(model.direct)
		fails(ErrTimeout)
		fails(context.Canceled)
		noneDirect()
		empty()
	}
	if _, err := model.Encode(context.Background(), sentences, nil); err != nil {
		t.Error(err)
	}
	full(model.slots)
	fails(ErrClosed)
}

// By either way a call gives the same, and what is wrong is said the same.
func TestCallsHereAndInTheQueueAreTheSame(t *testing.T) {
	model := open(t, "heads")
	ctx := context.Background()
	many := slices.Repeat(sentences, 50)
	outcomes := func() (vectors []*Embeddings, says []string) {
		for _, texts := range [][]string{nil, sentences, many} {
			all, err := model.EncodeOutputs(ctx, texts, OutputDense|OutputSparse|OutputMulti|OutputTokens, nil)
			if err != nil {
				t.Fatal(err)
			}
			vectors = append(vectors, all)
		}
		name := "no such prompt"
		for _, err := range []error{
			func() error { _, err := model.Encode(ctx, []string{"a", "\xff"}, nil); return err }(),
			func() error { _, err := model.Encode(ctx, sentences, &EncodeOptions{Prompt: &name}); return err }(),
			model.EncodeInto(ctx, sentences, make([]float32, 3), nil),
		} {
			says = append(says, err.Error())
		}
		return vectors, says
	}
	here, saysHere := outcomes()
	for range cap(model.direct) {
		model.direct <- struct{}{}
	}
	queued, saysQueued := outcomes()
	for range cap(model.direct) {
		<-model.direct
	}
	if !slices.Equal(saysHere, saysQueued) {
		t.Error(saysHere, saysQueued)
	}
	for i, all := range here {
		for j, vector := range all.Dense {
			if !slices.Equal(vector, queued[i].Dense[j]) || !slices.Equal(all.Sparse[j].IDs, queued[i].Sparse[j].IDs) {
				t.Errorf("call %d, text %d", i, j)
			}
		}
	}
	for i := range 3 {
		if here[i].TokenCounts != nil && !slices.Equal(here[i].TokenCounts, queued[i].TokenCounts) {
			t.Errorf("call %d has other tokens", i)
		}
	}
}
