// Section F: PyTorch's CPU generator.
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "io/random.h"
#include "io/safetensors.h"
#include "reference/reference.h"

namespace stepd::reference {
namespace {

// float32 normals of 16 or more may come from a machine without AVX2, whose logarithm and cosine differ in the last
// bits.
constexpr double kNormalTolerance = 2e-6;
constexpr double kDoubleTolerance = 1e-12;  // other versions of libm
constexpr double kBf16Tolerance = 0x1p-8;   // relative: one rounding step
constexpr int64_t kSequenceRange = 1000;    // of the randint in a sequence of calls

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts;
    std::istringstream in(text);
    for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
    return parts;
}

template <class T>
double value_of(T v) {
    return double(v);
}
double value_of(bf16 v) { return to_float(v); }

// The largest difference; relative (against at least 1) for bfloat16.
template <class T>
double compare(const SafeTensor& expected, const std::vector<T>& actual) {
    STEPD_REQUIRE(expected.bytes.size() == actual.size() * sizeof(T), Code::invalid, "array ", expected.name,
                  " has another type or size than its name says");
    double worst = 0;
    for (size_t i = 0; i < actual.size(); i++) {
        T value;
        std::memcpy(&value, expected.bytes.data() + i * sizeof(T), sizeof(T));
        double a = value_of(actual[i]), b = value_of(value), error = std::abs(a - b);
        if constexpr (sizeof(T) == 2) error /= std::max(1.0, std::abs(b));
        if (!(error <= worst)) worst = error;
    }
    return worst;
}

template <class T>
double check_draw(Generator& generator, const std::string& what, const SafeTensor& expected) {
    std::vector<T> actual(size_t(expected.elements()));
    what == "rand" ? generator.rand(actual.data(), int64_t(actual.size()))
                   : generator.randn(actual.data(), int64_t(actual.size()));
    return compare(expected, actual);
}

double check_array(Generator& generator, const std::string& what, const SafeTensor& expected) {
    switch (expected.type) {
        case SafeType::f32:
            return check_draw<float>(generator, what, expected);
        case SafeType::f64:
            return check_draw<double>(generator, what, expected);
        case SafeType::bf16:
            return check_draw<bf16>(generator, what, expected);
        case SafeType::i64:
            return compare(expected, generator.randint(0, kSequenceRange, expected.elements()));
        default:
            STEPD_THROW(Code::invalid, "array ", expected.name, " has the unexpected type ", name_of(expected.type));
    }
}

double tolerance_of(const std::string& what, SafeType type, int64_t elements) {
    if (what != "randn" || elements < 16) return 0;
    return type == SafeType::f32 ? kNormalTolerance : type == SafeType::f64 ? kDoubleTolerance : kBf16Tolerance;
}

struct Group {
    double tolerance = 0;
    Worst worst;
};

// Arrays are named <seed>.<rand|randn>.<n>.<dtype> (a fresh generator each) and <seed>.sequence.<order>.<call> (one
// generator, calls in order; the call begins with rand, randn or randint).
Result check_arrays(const std::string& name, const SafetensorsReader& arrays) {
    std::map<std::string, Group> groups;
    std::map<std::string, Generator> sequences;
    std::map<std::string, const SafeTensor*> sorted;
    for (const SafeTensor& tensor : arrays.tensors()) sorted[tensor.name] = &tensor;
    for (const auto& [label, tensor] : sorted) {
        std::vector<std::string> parts = split(label, '.');
        STEPD_REQUIRE(parts.size() == 4, Code::invalid, "array ", label, " has an unexpected name");
        uint64_t seed = std::stoull(parts[0]);
        if (parts[1] == "sequence") {
            Generator& generator = sequences.try_emplace(parts[0], seed).first->second;
            std::string what = parts[3].starts_with("randn") ? "randn" : "rand";
            Group& group = groups["sequence"];
            group.tolerance = kNormalTolerance;
            group.worst.add(check_array(generator, what, *tensor), label);
        } else {
            Generator generator(seed);
            Group& group = groups[parts[1] + "." + parts[3] + (tensor->elements() < 16 ? " n<16" : " n>=16")];
            group.tolerance = tolerance_of(parts[1], tensor->type, tensor->elements());
            group.worst.add(check_array(generator, parts[1], *tensor), label);
        }
    }
    Result result;
    for (const auto& [label, group] : groups) result += report(name + " " + label, group.worst, group.tolerance);
    return result;
}

// randperm: seed -> n -> list; randint: seed -> "<low>..<high>x<n>" -> list.
Result check_integers(const std::string& name, const nlohmann::json& integers) {
    Worst randperm, randint;
    for (const auto& [seed, cases] : integers.at("randperm").items()) {
        for (const auto& [n, expected] : cases.items()) {
            bool equal = Generator(std::stoull(seed)).randperm(std::stoll(n)) == expected.get<std::vector<int64_t>>();
            randperm.add(equal ? 0 : 1, seed + "." + n);
        }
    }
    for (const auto& [seed, cases] : integers.at("randint").items()) {
        for (const auto& [range, expected] : cases.items()) {
            size_t dots = range.find(".."), times = range.find('x');
            int64_t low = std::stoll(range.substr(0, dots)),
                    high = std::stoll(range.substr(dots + 2, times - dots - 2));
            int64_t n = std::stoll(range.substr(times + 1));
            bool equal = Generator(std::stoull(seed)).randint(low, high, n) == expected.get<std::vector<int64_t>>();
            randint.add(equal ? 0 : 1, seed + "." + range);
        }
    }
    Result result = report(name + " randperm", randperm, 0);
    return result += report(name + " randint", randint, 0);
}

}  // namespace

Result check_random(const std::string& folder, const nlohmann::json& entry) {
    std::string name = entry.at("name");
    std::string arrays = find_file(folder, entry, "arrays.safetensors"),
                integers = find_file(folder, entry, "integers.json");
    if (arrays.empty() && integers.empty()) return report_skip(name, "no check for its files");
    Result result;
    if (!arrays.empty()) result += check_arrays(name, SafetensorsReader(arrays));
    if (!integers.empty()) result += check_integers(name, read_json(integers));
    return result;
}

}  // namespace stepd::reference
