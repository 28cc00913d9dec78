package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"slices"

	bge "github.com/libbge/libbge/bindings/go"
)

type pair struct {
	a, b  int
	score float32
}

func main() {
	path := "bge-m3"
	if len(os.Args) > 1 {
		path = os.Args[1]
	}
	sentences := []string{
		"Bagaimana cara mengganti kata sandi saya?",
		"Toko buka setiap hari mulai pukul sembilan pagi.",
		"Hujan deras membuat jalan di depan pasar tergenang.",
		"Ibu membeli sayur dan ikan di pasar.",
		"Saya lupa kata sandi dan ingin menggantinya.",
		"Adik belajar bermain gitar dari pamannya.",
		"Jalan di depan pasar banjir karena hujan lebat.",
		"Pemerintah menaikkan harga bensin mulai bulan depan.",
		"Setiap hari toko dibuka dari jam sembilan pagi.",
		"Tim nasional menang dua gol tanpa balas.",
		"Mulai bulan depan harga bensin akan naik.",
	}
	model, err := bge.Open(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	dim := model.Info().DenseDim
	vectors := make([]float32, len(sentences)*dim)
	if err := model.EncodeInto(context.Background(), sentences, vectors, nil); err != nil {
		log.Fatal(err)
	}
	// The three most similar sentences of each, one of which is the sentence itself.
	best, err := bge.SimilarityTopK(bge.MetricCosine, vectors, vectors, dim, 3, 1)
	if err != nil {
		log.Fatal(err)
	}
	var pairs []pair
	for row, hits := range best {
		for _, hit := range hits {
			if hit.Row != row {
				pairs = append(pairs, pair{min(row, hit.Row), max(row, hit.Row), hit.Score})
			}
		}
	}
	slices.SortFunc(pairs, func(x, y pair) int {
		return cmp.Or(cmp.Compare(y.score, x.score), cmp.Compare(x.a, y.a), cmp.Compare(x.b, y.b))
	})
	// Two that found each other are a pair once.
	pairs = slices.Compact(pairs)
	for _, pair := range pairs[:4] {
		fmt.Printf("%.4f\n  %s\n  %s\n", pair.score, sentences[pair.a], sentences[pair.b])
	}
}
