// What the tests share: the tiny models, and texts of a few tokens each.

#ifndef BGE_TESTS_TINY_HPP
#define BGE_TESTS_TINY_HPP

#include <bge.hpp>

#include <cstdlib>
#include <string>
#include <vector>

/// The path of one of the models in tests/tiny; its folder is in BGE_TINY.
inline std::string tiny(const std::string& name) {
    const char* folder = std::getenv("BGE_TINY");
    return std::string(folder ? folder : "tests/tiny") + "/" + name;
}

inline const std::vector<std::string> sentences{
    "Orang-orang ada di luar.", "", "a", "Sekelompok orang sedang makan di sebuah restoran.",
    "Pria itu berdiri.", std::string("NUL \0 inside", 12)};

#endif
