package bge_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	bge "github.com/libbge/libbge/bindings/go"
)

// A folder that sentence-transformers would open.
const dir = "../../tests/tiny/heads"

func ExampleOpen() {
	model, err := bge.Open(dir, &bge.OpenOptions{Threads: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	info := model.Info()
	fmt.Println(info.DenseDim, info.Pooling, info.Device)
	// Output: 32 cls cpu
}

func ExampleModel_Encode() {
	model, err := bge.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	ctx, end := context.WithTimeout(context.Background(), time.Minute)
	defer end()
	vectors, err := model.Encode(ctx, []string{"Where is the cat?", "Di mana kucing itu?"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(vectors), len(vectors[0]))
	// Output: 2 32
}

func ExampleModel_EncodeOutputs() {
	model, err := bge.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	texts := []string{"Orang-orang ada di luar.", "Orang-orang ada di dalam."}
	all, err := model.EncodeOutputs(context.Background(), texts, bge.OutputDense|bge.OutputSparse|bge.OutputMulti, nil)
	if err != nil {
		log.Fatal(err)
	}
	scores, err := bge.SimilarityMulti(all.Multi[:1], all.Multi[1:], 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(all.Dense), len(all.Sparse), len(scores))
	// Output: 2 2 1
}

func ExampleError() {
	model, err := bge.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	_, err = model.Encode(context.Background(), []string{"fine", "\xff"}, nil)
	var e *bge.Error
	if errors.As(err, &e) && errors.Is(err, bge.ErrInvalidUTF8) {
		fmt.Println("text", e.TextIndex)
	}
	// Output: text 1
}

func ExampleSimilarity() {
	scores, err := bge.Similarity(bge.MetricCosine, []float32{1, 0, 0, 1}, []float32{3, 4}, 2, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.1f\n", scores)
	// Output: [0.6 0.8]
}
