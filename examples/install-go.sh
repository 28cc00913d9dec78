export PKG_CONFIG_PATH="$PREFIX/lib/pkgconfig" CGO_LDFLAGS="-Wl,-rpath,$PREFIX/lib"
go -C bindings/go build -o "$PREFIX/first-go" ../../examples/first.go
"$PREFIX/first-go" .cache/models/multilingual-e5-small
