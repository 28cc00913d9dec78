package bge

/*
#include <bge.h>

static bge_similarity_options bge_go_similarity_options(void) { bge_similarity_options o = BGE_SIMILARITY_OPTIONS_INIT; return o; }
static bge_quantize_options bge_go_quantize_options(void) { bge_quantize_options o = BGE_QUANTIZE_OPTIONS_INIT; return o; }
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// Metric is how two vectors are compared. A greater score always means more
// alike.
type Metric uint32

const (
	// MetricCosine is the cosine of the angle, -1 to 1.
	MetricCosine Metric = C.BGE_METRIC_COSINE
	// MetricDot is the dot product.
	MetricDot Metric = C.BGE_METRIC_DOT
	// MetricEuclidean is the Euclidean distance, negated.
	MetricEuclidean Metric = C.BGE_METRIC_EUCLIDEAN
	// MetricManhattan is the Manhattan distance, negated.
	MetricManhattan Metric = C.BGE_METRIC_MANHATTAN
)

// Similarity compares every row of a with every row of b. Rows of dim numbers lie
// one after another. It uses at most the given number of threads (zero: one). The
// score of row i of a and row j of b is at i*rows_of_b+j.
func Similarity(metric Metric, a, b []float32, dim int, threads int) ([]float32, error) {
	aRows, bRows, err := rowCounts([2]string{"a", "b"}, a, b, dim)
	if err != nil {
		return nil, err
	}
	options, err := similarityOptions(threads)
	if err != nil {
		return nil, err
	}
	scores := make([]float32, aRows*bRows)
	var cause C.bge_error
	status := C.bge_similarity(C.bge_metric(metric), floats(a), C.size_t(aRows), floats(b), C.size_t(bRows),
		C.size_t(dim), &options, floats(scores), &cause)
	if status != C.BGE_OK {
		return nil, newError(&cause)
	}
	return scores, nil
}

// SimilarityPairwise compares row i of a with row i of b.
func SimilarityPairwise(metric Metric, a, b []float32, dim int) ([]float32, error) {
	aRows, bRows, err := rowCounts([2]string{"a", "b"}, a, b, dim)
	if err != nil {
		return nil, err
	}
	if aRows != bRows {
		return nil, invalid("a has %d rows and b %d", aRows, bRows)
	}
	options := C.bge_go_similarity_options()
	scores := make([]float32, aRows)
	var cause C.bge_error
	status := C.bge_similarity_pairwise(C.bge_metric(metric), floats(a), floats(b), C.size_t(aRows), C.size_t(dim),
		&options, floats(scores), &cause)
	if status != C.BGE_OK {
		return nil, newError(&cause)
	}
	return scores, nil
}

// Hit is a row of a corpus, and its score with a query.
type Hit struct {
	Row   int
	Score float32
}

// SimilarityTopK finds for each row of queries the k rows of corpus with the
// highest scores, best first, and of rows with equal scores the first. It uses at
// most the given number of threads (zero: one). A query has fewer hits if the
// corpus has fewer rows, or scores are NaN.
func SimilarityTopK(metric Metric, queries, corpus []float32, dim, k, threads int) ([][]Hit, error) {
	queryRows, corpusRows, err := rowCounts([2]string{"queries", "corpus"}, queries, corpus, dim)
	if err != nil {
		return nil, err
	}
	if k < 0 {
		return nil, invalid("k is %d, and must not be negative", k)
	}
	options, err := similarityOptions(threads)
	if err != nil {
		return nil, err
	}
	k = min(k, corpusRows)
	indices, scores := make([]uint64, queryRows*k), make([]float32, queryRows*k)
	var cause C.bge_error
	status := C.bge_similarity_top_k(C.bge_metric(metric), floats(queries), C.size_t(queryRows), floats(corpus),
		C.size_t(corpusRows), C.size_t(dim), C.size_t(k), &options, u64s(indices), floats(scores), &cause)
	if status != C.BGE_OK {
		return nil, newError(&cause)
	}
	best := make([][]Hit, queryRows)
	for query := range best {
		for place := query * k; place < (query+1)*k && indices[place] != C.BGE_NO_ROW; place++ {
			best[query] = append(best[query], Hit{Row: int(indices[place]), Score: scores[place]})
		}
	}
	return best, nil
}

// SimilaritySparse compares every text of a with every text of b by their sparse
// weights: the sum, over the tokens that both have, of the product of weights.
func SimilaritySparse(a, b []SparseWeights, threads int) ([]float32, error) {
	options, err := similarityOptions(threads)
	if err != nil {
		return nil, err
	}
	aOffsets, aIDs, aWeights, err := flatSparse("a", a)
	if err != nil {
		return nil, err
	}
	bOffsets, bIDs, bWeights, err := flatSparse("b", b)
	if err != nil {
		return nil, err
	}
	scores := make([]float32, len(a)*len(b))
	var cause C.bge_error
	status := C.bge_similarity_sparse(u64s(aOffsets), u32s(aIDs), floats(aWeights), C.size_t(len(a)),
		u64s(bOffsets), u32s(bIDs), floats(bWeights), C.size_t(len(b)), &options, floats(scores), &cause)
	if status != C.BGE_OK {
		return nil, newError(&cause)
	}
	return scores, nil
}

// SimilarityMulti compares every text of a, the queries, with every text of b by
// their multi-vectors: the mean, over the rows of the text of a, of the greatest
// dot product with a row of the text of b.
func SimilarityMulti(a, b []TokenVectors, threads int) ([]float32, error) {
	options, err := similarityOptions(threads)
	if err != nil {
		return nil, err
	}
	dim := 0
	for _, texts := range [][]TokenVectors{a, b} {
		for _, text := range texts {
			if dim == 0 {
				dim = text.Dim
			}
		}
	}
	aOffsets, aRows, err := flatTokenVectors("a", a, dim)
	if err != nil {
		return nil, err
	}
	bOffsets, bRows, err := flatTokenVectors("b", b, dim)
	if err != nil {
		return nil, err
	}
	scores := make([]float32, len(a)*len(b))
	if len(scores) == 0 {
		return scores, nil
	}
	var cause C.bge_error
	status := C.bge_similarity_multi(u64s(aOffsets), floats(aRows), C.size_t(len(a)),
		u64s(bOffsets), floats(bRows), C.size_t(len(b)), C.size_t(dim), &options, floats(scores), &cause)
	if status != C.BGE_OK {
		return nil, newError(&cause)
	}
	return scores, nil
}

// SimilarityHybrid returns the mean of scores of several kinds, weighted by weights
// in this order (nil: 1 each). A kind that is nil is omitted, with its weight.
func SimilarityHybrid(dense, sparse, multi []float32, weights *[3]float32) ([]float32, error) {
	count := max(len(dense), len(sparse), len(multi))
	var pointers [3]*C.float
	names := [3]string{"dense", "sparse", "multi"}
	for i, kind := range [][]float32{dense, sparse, multi} {
		if kind == nil {
			continue
		}
		if len(kind) != count {
			return nil, invalid("%s has %d scores, not %d", names[i], len(kind), count)
		}
		pointers[i] = floats(kind)
	}
	scores := make([]float32, count)
	if count == 0 {
		return scores, nil
	}
	var cause C.bge_error
	var cWeights *C.float
	if weights != nil {
		cWeights = floats(weights[:])
	}
	if status := C.bge_similarity_hybrid(pointers[0], pointers[1], pointers[2], C.size_t(count), cWeights, floats(scores), &cause); status != C.BGE_OK {
		return nil, newError(&cause)
	}
	return scores, nil
}

// Precision is the element type of the codes of Quantize.
type Precision uint32

const (
	// PrecisionInt8 is a byte for each dimension: convert it to int8.
	PrecisionInt8 Precision = C.BGE_PRECISION_INT8
	// PrecisionUint8 is a byte for each dimension.
	PrecisionUint8 Precision = C.BGE_PRECISION_UINT8
	// PrecisionBinary is a bit for each dimension, in bytes to convert to int8.
	PrecisionBinary Precision = C.BGE_PRECISION_BINARY
	// PrecisionUbinary is a bit for each dimension, in bytes.
	PrecisionUbinary Precision = C.BGE_PRECISION_UBINARY
)

// QuantizeOptions are the options of Quantize: bge_quantize_options.
type QuantizeOptions struct {
	// Ranges come from QuantizeRanges. Nil: the ranges of the vectors of the call,
	// whose codes cannot be compared with those of another call.
	Ranges []float32
	// ST5 uses the formulas of sentence-transformers before version 6.
	ST5 bool
}

// Quantize returns the codes of vectors of dim numbers: dim bytes for each, or for
// bits dim/8 bytes, rounded up. Options may be nil.
func Quantize(precision Precision, vectors []float32, dim int, options *QuantizeOptions) ([]byte, error) {
	count, _, err := rowCounts([2]string{"vectors"}, vectors, nil, dim)
	if err != nil {
		return nil, err
	}
	var pinner runtime.Pinner
	defer pinner.Unpin()
	c := C.bge_go_quantize_options()
	if options != nil {
		if options.Ranges != nil {
			if len(options.Ranges) != 2*dim {
				return nil, invalid("Ranges has %d numbers, not %d for %d dimensions", len(options.Ranges), 2*dim, dim)
			}
			c.ranges = (*C.float)(pin(&pinner, options.Ranges))
		}
		if options.ST5 {
			c.flags |= C.BGE_QUANTIZE_ST5
		}
	}
	width := dim
	if precision == PrecisionBinary || precision == PrecisionUbinary {
		width = (dim + 7) / 8
	}
	codes := make([]byte, count*width)
	var cause C.bge_error
	status := C.bge_quantize(C.bge_precision(precision), floats(vectors), C.size_t(count), C.size_t(dim), &c,
		unsafe.Pointer(unsafe.SliceData(codes)), C.size_t(len(codes)), &cause)
	if status != C.BGE_OK {
		return nil, newError(&cause)
	}
	return codes, nil
}

// QuantizeRanges returns the least number of each dimension of the vectors,
// followed by the greatest of each.
func QuantizeRanges(vectors []float32, dim int) ([]float32, error) {
	count, _, err := rowCounts([2]string{"vectors"}, vectors, nil, dim)
	if err != nil {
		return nil, err
	}
	c := C.bge_go_quantize_options()
	ranges := make([]float32, 2*dim)
	var cause C.bge_error
	if status := C.bge_quantize_ranges(floats(vectors), C.size_t(count), C.size_t(dim), &c, floats(ranges), &cause); status != C.BGE_OK {
		return nil, newError(&cause)
	}
	return ranges, nil
}

func similarityOptions(threads int) (C.bge_similarity_options, error) {
	options := C.bge_go_similarity_options()
	if threads < 0 || threads > 1024 {
		return options, invalid("threads is %d, and must be 0 to 1024", threads)
	}
	options.threads = C.uint32_t(threads)
	return options, nil
}

// rowCounts returns the number of rows of dim numbers in a and b.
func rowCounts(names [2]string, a, b []float32, dim int) (int, int, error) {
	if dim <= 0 {
		return 0, 0, invalid("dim is %d, and must be greater than 0", dim)
	}
	for i, block := range [][]float32{a, b} {
		if len(block)%dim != 0 {
			return 0, 0, invalid("%s has %d numbers, which are no rows of %d", names[i], len(block), dim)
		}
	}
	return len(a) / dim, len(b) / dim, nil
}

func flatSparse(name string, texts []SparseWeights) (offsets []uint64, ids []uint32, weights []float32, err error) {
	offsets = make([]uint64, 1, len(texts)+1)
	for i, text := range texts {
		if len(text.IDs) != len(text.Weights) {
			return nil, nil, nil, invalid("%s[%d] has %d ids and %d weights", name, i, len(text.IDs), len(text.Weights))
		}
		ids, weights = append(ids, text.IDs...), append(weights, text.Weights...)
		offsets = append(offsets, uint64(len(ids)))
	}
	return offsets, ids, weights, nil
}

func flatTokenVectors(name string, texts []TokenVectors, dim int) (offsets []uint64, data []float32, err error) {
	offsets = make([]uint64, 1, len(texts)+1)
	for i, text := range texts {
		if len(text.Data) != 0 && (text.Dim != dim || len(text.Data)%dim != 0) {
			return nil, nil, invalid("%s[%d] has %d numbers in rows of %d, which are no rows of %d", name, i, len(text.Data), text.Dim, dim)
		}
		data = append(data, text.Data...)
		offsets = append(offsets, uint64(len(data)/max(dim, 1)))
	}
	return offsets, data, nil
}

func floats(slice []float32) *C.float { return (*C.float)(unsafe.Pointer(unsafe.SliceData(slice))) }
func u32s(slice []uint32) *C.uint32_t { return (*C.uint32_t)(unsafe.Pointer(unsafe.SliceData(slice))) }
func u64s(slice []uint64) *C.uint64_t { return (*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(slice))) }
