package bge

import "time"

// EncodeOptions are the options of a call: bge_encode_options. A zero member has
// its default.
type EncodeOptions struct {
	// Normalize scales dense vectors to length 1 even if the model does not.
	Normalize bool
	// RejectLong fails with ErrTextTooLong instead of cutting a text.
	RejectLong bool
	// Strip removes white space around each text first.
	Strip bool
	// MaxTokens cuts texts at this many tokens.
	MaxTokens uint32
	// Timeout limits the time of the call, waiting included, as the deadline of the
	// context does.
	Timeout time.Duration
	// Prompt names a prompt of the model, which is put in front of each text. Nil:
	// the model's default. The empty name: none.
	Prompt *string
	// TruncateDim truncates dense vectors to this many dimensions (Matryoshka).
	TruncateDim uint32
	// PerTextErrors reports errors of single texts in Embeddings.Errors instead of
	// failing the call. Only EncodeOutputs reads it.
	PerTextErrors bool
}

// Embeddings are the results of EncodeOutputs, in the order of the texts. An
// output that was not requested is nil.
type Embeddings struct {
	// Dense has a vector for each text.
	Dense  [][]float32
	Sparse []SparseWeights
	// Multi has a vector for each token of a text but the first.
	Multi []TokenVectors
	// Tokens has the final state of each token of a text.
	Tokens []TokenVectors
	// TokenCounts has the number of tokens of each text that were encoded.
	TokenCounts []uint32
	// Truncated is true for each text that was cut.
	Truncated []bool
	// Errors has the error of each text that failed, and nil for the others. It is
	// nil without PerTextErrors.
	Errors []error
}

// SparseWeights are the weights of the tokens of a text. IDs ascend.
type SparseWeights struct {
	IDs     []uint32
	Weights []float32
}

// TokenVectors are the vectors of the tokens of a text: rows of Dim numbers, one
// after another.
type TokenVectors struct {
	Data []float32
	Dim  int
}

// Rows returns the number of rows.
func (v TokenVectors) Rows() int {
	if v.Dim == 0 {
		return 0
	}
	return len(v.Data) / v.Dim
}

// Row returns row i. It shares memory with v.
func (v TokenVectors) Row(i int) []float32 { return v.Data[i*v.Dim : (i+1)*v.Dim : (i+1)*v.Dim] }

// rows divides a block into vectors of dim numbers that share it.
func rows(block []float32, dim int) [][]float32 {
	if dim == 0 {
		return nil
	}
	vectors := make([][]float32, len(block)/dim)
	for i := range vectors {
		vectors[i] = block[i*dim : (i+1)*dim : (i+1)*dim]
	}
	return vectors
}

func tokenVectors(block []float32, offsets []uint64, dim int) []TokenVectors {
	list := make([]TokenVectors, len(offsets)-1)
	for i := range list {
		from, to := int(offsets[i])*dim, int(offsets[i+1])*dim
		list[i] = TokenVectors{Data: block[from:to:to], Dim: dim}
	}
	return list
}
