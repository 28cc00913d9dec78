package main

import (
	"context"
	"fmt"
	"log"
	"os"

	bge "github.com/libbge/libbge/bindings/go"
)

func main() {
	path := "bge-m3"
	if len(os.Args) > 1 {
		path = os.Args[1]
	}
	texts := []string{
		"Orang-orang ada di luar.",
		"Orang-orang berjalan di luar dan mengenakan warna gelap.",
		"Sekelompok orang sedang makan di sebuah restoran dengan mural seorang wanita sedang berbelanja di belakang mereka.",
	}
	model, err := bge.Open(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	dim := model.Info().DenseDim
	vectors := make([]float32, len(texts)*dim)
	if err := model.EncodeInto(context.Background(), texts, vectors, nil); err != nil {
		log.Fatal(err)
	}
	scores, err := bge.Similarity(bge.MetricCosine, vectors, vectors, dim, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("[3, %d]\n", dim)
	for i := 0; i < 9; i += 3 {
		fmt.Printf("%.4f %.4f %.4f\n", scores[i], scores[i+1], scores[i+2])
	}
}
