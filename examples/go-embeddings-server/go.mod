module github.com/libbge/libbge/examples/go-embeddings-server

go 1.24

require github.com/libbge/libbge/bindings/go v0.1.0

replace github.com/libbge/libbge/bindings/go => ../../bindings/go
