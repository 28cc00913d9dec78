package bge

import (
	"context"
	"errors"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var sentences = []string{"Orang-orang ada di luar.", "", "a", "Sekelompok orang sedang makan di sebuah restoran.",
	"Pria itu berdiri.", "NUL \x00 inside"}

func open(t testing.TB, name string) *Model {
	t.Helper()
	model, err := Open("../../tests/tiny/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { model.Close() })
	return model
}

// encode is for texts that have to succeed.
func encode(t testing.TB, model *Model) [][]float32 {
	t.Helper()
	vectors, err := model.Encode(context.Background(), sentences, nil)
	if err != nil {
		t.Fatal(err)
	}
	return vectors
}

func TestEncodeGivesARowForEachText(t *testing.T) {
	model := open(t, "heads")
	ctx := context.Background()
	vectors := encode(t, model)
	if len(vectors) != len(sentences) {
		t.Fatalf("%d vectors", len(vectors))
	}
	into := make([]float32, len(sentences)*model.Info().DenseDim)
	if err := model.EncodeInto(ctx, sentences, into, nil); err != nil {
		t.Fatal(err)
	}
	all, err := model.EncodeOutputs(ctx, sentences, OutputDense, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, vector := range vectors {
		if !slices.Equal(vector, into[i*len(vector):(i+1)*len(vector)]) || !slices.Equal(vector, all.Dense[i]) {
			t.Errorf("text %d has several vectors", i)
		}
		length := 0.0
		for _, x := range vector {
			length += float64(x) * float64(x)
		}
		if math.Abs(length-1) > 1e-5 {
			t.Errorf("text %d has the squared length %v", i, length)
		}
	}
}

func TestNoTextsAreNoError(t *testing.T) {
	model := open(t, "heads")
	ctx := context.Background()
	if vectors, err := model.Encode(ctx, nil, nil); err != nil || len(vectors) != 0 {
		t.Error(vectors, err)
	}
	if counts, err := model.CountTokens(nil); err != nil || len(counts) != 0 {
		t.Error(counts, err)
	}
	all, err := model.EncodeOutputs(ctx, nil, OutputDense|OutputSparse|OutputMulti|OutputTokens, nil)
	if err != nil || len(all.Sparse) != 0 {
		t.Error(all, err)
	}
}

func TestAllOutputs(t *testing.T) {
	model := open(t, "heads")
	info := model.Info()
	all, err := model.EncodeOutputs(context.Background(), sentences, info.Outputs, nil)
	if err != nil {
		t.Fatal(err)
	}
	counts, err := model.CountTokens(sentences)
	if err != nil || !slices.Equal(counts, all.TokenCounts) {
		t.Error(counts, all.TokenCounts, err)
	}
	for i, count := range counts {
		if all.Tokens[i].Rows() != int(count) || all.Multi[i].Rows() != int(count)-1 {
			t.Errorf("text %d of %d tokens has %d and %d rows", i, count, all.Tokens[i].Rows(), all.Multi[i].Rows())
		}
		if !slices.IsSorted(all.Sparse[i].IDs) || all.Truncated[i] {
			t.Errorf("text %d: %v", i, all.Sparse[i])
		}
	}
	if text, ok := model.TokenText(all.Sparse[0].IDs[0]); !ok || text == "" {
		t.Error("a token of a text has no text")
	}
	sparse, err := SimilaritySparse(all.Sparse, all.Sparse, 1)
	if err != nil {
		t.Fatal(err)
	}
	byHand := 0.0
	for _, weight := range all.Sparse[0].Weights {
		byHand += float64(weight) * float64(weight)
	}
	if math.Abs(float64(sparse[0])-byHand) > 1e-5 {
		t.Errorf("%v, by hand %v", sparse[0], byHand)
	}
	multi, err := SimilarityMulti(all.Multi, all.Multi, 2)
	if err != nil || math.Abs(float64(multi[0])-1) > 1e-5 {
		t.Error(multi, err)
	}
	if row := all.Multi[0].Row(1); len(row) != info.MultiDim {
		t.Errorf("a row of %d", len(row))
	}
	hybrid, err := SimilarityHybrid(nil, sparse, multi, nil)
	if err != nil || math.Abs(float64(hybrid[0]-(sparse[0]+multi[0])/2)) > 1e-6 {
		t.Error(hybrid, err)
	}
}

func TestPromptsAndLimits(t *testing.T) {
	model := open(t, "prompts")
	ctx := context.Background()
	query, none := "query", ""
	bare, err := model.EncodeOutputs(ctx, sentences, OutputTokens, &EncodeOptions{Prompt: &none})
	if err != nil {
		t.Fatal(err)
	}
	prompted, err := model.EncodeOutputs(ctx, sentences, OutputTokens, &EncodeOptions{Prompt: &query})
	if err != nil {
		t.Fatal(err)
	}
	cut, err := model.EncodeOutputs(ctx, sentences, OutputDense, &EncodeOptions{Prompt: &none, MaxTokens: 3, TruncateDim: 8})
	if err != nil {
		t.Fatal(err)
	}
	for i := range sentences {
		if prompted.TokenCounts[i] <= bare.TokenCounts[i] || prompted.Tokens[i].Rows() != int(prompted.TokenCounts[i]) {
			t.Errorf("text %d: %d tokens with a prompt, %d without", i, prompted.TokenCounts[i], bare.TokenCounts[i])
		}
		if cut.TokenCounts[i] > 3 || cut.Truncated[i] != (bare.TokenCounts[i] > 3) || len(cut.Dense[i]) != 8 {
			t.Errorf("text %d: %d tokens, %v, %d numbers", i, cut.TokenCounts[i], cut.Truncated[i], len(cut.Dense[i]))
		}
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	model := open(t, "heads")
	ctx := context.Background()
	bad := []string{"a", "b", "\xff"}
	name := "no such prompt"
	sparse := []SparseWeights{{IDs: []uint32{7}, Weights: nil}}
	cases := map[string]struct {
		err  func() error
		is   error
		says string
	}{
		"no model": {func() error { _, err := Open("/no/such/model", nil); return err }, ErrModelNotFound, "/no/such/model"},
		"no path":  {func() error { _, err := Open("", nil); return err }, ErrInvalidArgument, "empty"},
		"NUL":      {func() error { _, err := Open("a\x00b", nil); return err }, ErrInvalidArgument, "NUL"},
		"device": {func() error {
			_, err := Open("../../tests/tiny/cls", &OpenOptions{Device: DeviceCUDA})
			return err
		}, ErrRuntimeUnavailable, "libonnxruntime_providers_"},
		"small":    {func() error { return model.EncodeInto(ctx, sentences, make([]float32, 3), nil) }, ErrBufferTooSmall, "3"},
		"no room":  {func() error { return model.EncodeInto(ctx, sentences, nil, nil) }, ErrBufferTooSmall, ""},
		"UTF-8":    {func() error { _, err := model.Encode(ctx, bad, nil); return err }, ErrInvalidUTF8, ""},
		"counting": {func() error { _, err := model.CountTokens(bad); return err }, ErrInvalidUTF8, ""},
		"sparse":   {func() error { _, err := model.EncodeOutputs(ctx, bad, OutputSparse, nil); return err }, ErrInvalidUTF8, ""},
		"prompt": {func() error {
			_, err := model.Encode(ctx, sentences, &EncodeOptions{Prompt: &name})
			return err
		}, ErrInvalidArgument, name},
		"wide": {func() error {
			_, err := model.Encode(ctx, sentences, &EncodeOptions{TruncateDim: math.MaxUint32})
			return err
		}, ErrInvalidArgument, "truncate_dim"},
		"no output": {func() error { _, err := model.EncodeOutputs(ctx, sentences, 0, nil); return err }, ErrInvalidArgument, ""},
		"dim":       {func() error { _, err := Similarity(MetricDot, sevens(3), sevens(4), 2, 1); return err }, ErrInvalidArgument, "3"},
		"no dim":    {func() error { _, err := Similarity(MetricDot, sevens(3), sevens(3), 0, 1); return err }, ErrInvalidArgument, "dim"},
		"metric":    {func() error { _, err := Similarity(99, sevens(2), sevens(2), 2, 1); return err }, ErrInvalidArgument, "99"},
		"threads":   {func() error { _, err := Similarity(MetricDot, sevens(2), sevens(2), 2, -1); return err }, ErrInvalidArgument, "-1"},
		"rows":      {func() error { _, err := SimilarityPairwise(MetricDot, sevens(2), sevens(4), 2); return err }, ErrInvalidArgument, ""},
		"weights":   {func() error { _, err := SimilaritySparse(sparse, sparse, 1); return err }, ErrInvalidArgument, "a[0]"},
		"kinds":     {func() error { _, err := SimilarityHybrid(sevens(2), sevens(3), nil, nil); return err }, ErrInvalidArgument, "dense has 2"},
		"matrix": {func() error {
			_, err := SimilarityMulti([]TokenVectors{{sevens(4), 2}}, []TokenVectors{{sevens(3), 3}}, 1)
			return err
		}, ErrInvalidArgument, "rows of 3"},
		"ranges": {func() error {
			_, err := Quantize(PrecisionInt8, sevens(4), 2, &QuantizeOptions{Ranges: sevens(3)})
			return err
		}, ErrInvalidArgument, "Ranges"},
	}
	for what, c := range cases {
		err := c.err()
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, c.is) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if !strings.Contains(e.Message, c.says) || !strings.Contains(err.Error(), e.Code.String()) {
			t.Errorf("%s: %v does not say %q", what, err, c.says)
		}
		if wrong := errors.Is(c.is, ErrInvalidUTF8); wrong != (e.TextIndex == 2) {
			t.Errorf("%s: text %d", what, e.TextIndex)
		}
	}
	results, err := model.EncodeOutputs(ctx, bad, OutputDense|OutputSparse, &EncodeOptions{PerTextErrors: true})
	if err != nil {
		t.Fatal(err)
	}
	var e *Error
	if results.Errors[0] != nil || !errors.Is(results.Errors[2], ErrInvalidUTF8) || len(results.Sparse[2].IDs) != 0 {
		t.Error(results.Errors)
	}
	if !errors.As(results.Errors[2], &e) || e.TextIndex != 2 || !strings.Contains(e.Message, "texts[2] is not UTF-8") {
		t.Error(results.Errors[2])
	}
}

func sevens(n int) []float32 { return slices.Repeat([]float32{7}, n) }

func TestContextsStopCalls(t *testing.T) {
	model := open(t, "heads")
	ended, end := context.WithCancel(context.Background())
	end()
	late, end := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer end()
	// However short a call is, and no text is the shortest.
	for range 200 {
		if _, err := model.Encode(ended, nil, nil); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrCancelled) {
			t.Fatal(err)
		}
		if _, err := model.Encode(late, sentences, nil); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
	}
	// Far more than a millisecond of work.
	many := slices.Repeat(sentences, 20000)
	short, end := context.WithTimeout(context.Background(), time.Millisecond)
	defer end()
	if _, err := model.Encode(short, many, nil); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	if _, err := model.Encode(context.Background(), many, &EncodeOptions{Timeout: time.Millisecond}); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	if _, err := model.Encode(context.Background(), sentences, &EncodeOptions{Timeout: -1}); !errors.Is(err, ErrInvalidArgument) {
		t.Error(err)
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	model := open(t, "cls")
	many := slices.Repeat(sentences, 20000)
	var calls sync.WaitGroup
	var started atomic.Int32
	for i := range 8 {
		calls.Add(1)
		go func() {
			defer calls.Done()
			ctx, end := context.WithCancel(context.Background())
			defer end()
			if i%2 == 0 {
				ctx = context.Background()
			}
			started.Add(1)
			if _, err := model.Encode(ctx, many, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("a call ended with %v", err)
			}
		}()
	}
	for started.Load() < 8 {
		runtime.Gosched()
	}
	for range 3 {
		if err := model.Close(); err != nil {
			t.Error(err)
		}
	}
	calls.Wait()
	if _, err := model.Encode(context.Background(), sentences, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := model.CountTokens(sentences); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := model.Stats(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := model.Fingerprint(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, ok := model.TokenText(5); ok {
		t.Error("a closed model has a token")
	}
	if model.Info().DenseDim == 0 {
		t.Error("a closed model has no Info")
	}
}

func TestLogLinesArrive(t *testing.T) {
	var lines atomic.Int64
	logged := func(to func(line string)) int64 {
		lines.Store(0)
		SetLog(LogDebug, func(_ LogLevel, line string) { lines.Add(1); to(line) })
		defer SetLog(LogOff, nil)
		model := open(t, "cls")
		encode(t, model)
		model.Close()
		return lines.Load()
	}
	logged(func(string) {}) // The first time, more lines are logged.
	expected := logged(func(string) {})
	if expected == 0 {
		t.Error("opening a model logged nothing")
	}
	// After each panic comes the next line, and the model works.
	if got := logged(func(line string) { panic("nothing of this may reach C: " + line) }); got != expected {
		t.Errorf("%d lines to a function that panics, and %d to another", got, expected)
	}
	before := lines.Load()
	open(t, "cls")
	if lines.Load() != before {
		t.Error("lines came after SetLog(LogOff)")
	}
}

func TestSimilarityAndQuantize(t *testing.T) {
	a, b := []float32{1, 0, 0, 1, 3, 4}, []float32{0, 2, 1, 1}
	scores, err := Similarity(MetricDot, a, b, 2, 2)
	if err != nil || !slices.Equal(scores, []float32{0, 1, 2, 1, 8, 7}) {
		t.Error(scores, err)
	}
	pairs, err := SimilarityPairwise(MetricManhattan, b, a[:4], 2)
	if err != nil || !slices.Equal(pairs, []float32{-3, -1}) {
		t.Error(pairs, err)
	}
	best, err := SimilarityTopK(MetricDot, b, a, 2, 2, 2)
	if err != nil || !reflect.DeepEqual(best, [][]Hit{{{2, 8}, {1, 2}}, {{2, 7}, {0, 1}}}) {
		t.Error(best, err)
	}
	best, err = SimilarityTopK(MetricCosine, []float32{1, float32(math.NaN())}, a, 2, 9, 0)
	if err != nil || len(best) != 1 || len(best[0]) != 0 {
		t.Error(best, err)
	}
	if _, err := SimilarityTopK(MetricDot, b, a, 2, -1, 0); !errors.Is(err, ErrInvalidArgument) {
		t.Error(err)
	}
	bits, err := Quantize(PrecisionUbinary, []float32{-1, 0, 1, 2, 3, 5, -2, 1}, 8, nil)
	if err != nil || !slices.Equal(bits, []byte{0b00111101}) {
		t.Error(bits, err)
	}
	ranges, err := QuantizeRanges(a, 2)
	if err != nil || !slices.Equal(ranges, []float32{0, 0, 3, 4}) {
		t.Error(ranges, err)
	}
	codes, err := Quantize(PrecisionUint8, a, 2, &QuantizeOptions{Ranges: ranges})
	if err != nil || len(codes) != 6 || codes[1] != 0 || codes[4] < 254 {
		t.Error(codes, err)
	}
	if scores, err := Similarity(MetricDot, nil, b, 2, 0); err != nil || len(scores) != 0 {
		t.Error(scores, err)
	}
	if _, err := QuantizeRanges(nil, 2); !errors.Is(err, ErrInvalidArgument) {
		t.Error(err)
	}
}
