make install PREFIX="$PREFIX"

export PKG_CONFIG_PATH="$PREFIX/lib/pkgconfig"
cc examples/first.c -o "$PREFIX/first" $(pkg-config --cflags --libs bge) -Wl,-rpath,"$PREFIX/lib"
"$PREFIX/first" .cache/models/multilingual-e5-small
