require github.com/libbge/libbge/bindings/go v0.1.0

replace github.com/libbge/libbge/bindings/go => /path/to/libbge/bindings/go
