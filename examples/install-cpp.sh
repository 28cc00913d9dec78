export PKG_CONFIG_PATH="$PREFIX/lib/pkgconfig"
c++ -std=c++17 examples/first.cpp -o "$PREFIX/first-cpp" $(pkg-config --cflags --libs bge) -Wl,-rpath,"$PREFIX/lib"
"$PREFIX/first-cpp" .cache/models/multilingual-e5-small
