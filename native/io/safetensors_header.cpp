// Parsing of safetensors headers. A header comes from strangers: everything in it is checked before it is used.
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "io/safetensors.h"

namespace stepd::detail {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // as in the reference reader
constexpr size_t kLengthBytes = 8;

struct Entry {
    std::string name;
    std::optional<std::string> dtype;
    std::optional<std::vector<uint64_t>> shape, offsets;
};

// SAX handler: unlike a parsed tree it sees duplicate keys, and it needs no recursion.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
public:
    HeaderHandler(const std::string& path, SafeMetadata& metadata) : path_(path), metadata_(metadata) {}

    std::vector<Entry> entries;

    bool null() override { return refuse("null"); }
    bool boolean(bool) override { return refuse("a boolean"); }
    bool number_integer(number_integer_t) override { return refuse("a negative number"); }
    bool number_float(number_float_t, const string_t& text) override {
        return refuse("the number " + text.substr(0, 40));
    }
    bool binary(binary_t&) override { return refuse("binary data"); }

    bool number_unsigned(number_unsigned_t value) override {
        if (!numbers_) return refuse("a number");
        numbers_->push_back(value);
        return true;
    }

    bool string(string_t& value) override {
        if (in_metadata_) {
            if (!metadata_.emplace(key_, value).second) fail("metadata key ", printable(key_), " appears twice");
        } else if (depth_ == 2 && !numbers_ && key_ == "dtype") {
            if (entries.back().dtype) fail("tensor ", printable(entries.back().name), " has two fields \"dtype\"");
            entries.back().dtype = value;
        } else {
            return refuse("a string");
        }
        return true;
    }

    bool start_object(size_t) override {
        if (++depth_ > 2 || numbers_) return refuse("an object");
        if (depth_ < 2) return true;
        in_metadata_ = key_ == "__metadata__";
        if (!names_.insert(key_).second) fail("tensor ", printable(key_), " appears twice");
        if (!in_metadata_) entries.push_back({key_, {}, {}, {}});
        return true;
    }

    bool key(string_t& key) override {
        key_ = key;
        return true;
    }

    bool end_object() override {
        depth_--;
        in_metadata_ = false;
        return true;
    }

    bool start_array(size_t) override {
        if (depth_ != 2 || in_metadata_ || numbers_) return refuse("an array");
        Entry& entry = entries.back();
        auto& field = key_ == "shape" ? entry.shape : entry.offsets;
        if (key_ != "shape" && key_ != "data_offsets") return refuse("an array");
        if (field) fail("tensor ", printable(entry.name), " has two fields ", printable(key_));
        numbers_ = &field.emplace();
        return true;
    }

    bool end_array() override {
        numbers_ = nullptr;
        return true;
    }

    bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
        fail("the header is not valid JSON near byte ", position);
    }

private:
    template <class... Args>
    [[noreturn]] void fail(const Args&... args) const {
        STEPD_THROW(Code::invalid, "safetensors file ", path_, ": ", args...);
    }

    bool refuse(const std::string& what) const {
        if (depth_ < 2)
            fail("the header has ", what, " where ", depth_ ? "a tensor's description" : "an object", " belongs");
        if (in_metadata_) fail("metadata ", printable(key_), " is ", what, "; only strings are allowed");
        fail("tensor ", printable(entries.back().name), ": field ", printable(key_), " holds ", what,
             "; expected are dtype (string), shape and data_offsets (arrays of whole numbers)");
    }

    const std::string& path_;
    SafeMetadata& metadata_;
    int depth_ = 0;
    bool in_metadata_ = false;
    std::string key_;
    std::set<std::string> names_;
    std::vector<uint64_t>* numbers_ = nullptr;  // the array being filled
};

SafeType parse_type(const std::string& path, const Entry& entry) {
    static constexpr SafeType all[] = {SafeType::boolean, SafeType::u8,  SafeType::i8,  SafeType::i16, SafeType::f16,
                                       SafeType::bf16,    SafeType::i32, SafeType::f32, SafeType::f64, SafeType::i64};
    for (SafeType type : all) {
        if (*entry.dtype == name_of(type)) return type;
    }
    STEPD_THROW(Code::invalid, "safetensors file ", path, ": tensor ", printable(entry.name), " has dtype ",
                printable(*entry.dtype),
                ", which is not supported; supported are F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL");
}

// Bytes of the tensor by its shape; refuses what does not fit into a signed 64-bit count.
uint64_t checked_bytes(const std::string& path, const Entry& entry, SafeType type) {
    uint64_t bytes = size_of(type);
    for (uint64_t extent : *entry.shape) {
        bool overflow = __builtin_mul_overflow(bytes, extent, &bytes);
        STEPD_REQUIRE(!overflow && std::max(bytes, extent) <= uint64_t(INT64_MAX), Code::invalid, "safetensors file ",
                      path, ": tensor ", printable(entry.name), ": the shape's size overflows");
    }
    return bytes;
}

SafeTensor make_tensor(const std::string& path, const Entry& entry, std::span<const std::byte> data) {
    auto require = [&](bool ok, const auto&... args) {
        STEPD_REQUIRE(ok, Code::invalid, "safetensors file ", path, ": tensor ", printable(entry.name), ": ", args...);
    };
    require(entry.dtype.has_value(), "field \"dtype\" is missing");
    require(entry.shape.has_value(), "field \"shape\" is missing");
    require(entry.offsets.has_value(), "field \"data_offsets\" is missing");
    require(entry.offsets->size() == 2, "data_offsets must be two numbers");
    SafeType type = parse_type(path, entry);
    uint64_t expected = checked_bytes(path, entry, type);
    uint64_t begin = (*entry.offsets)[0], end = (*entry.offsets)[1];
    require(begin <= end, "data_offsets [", begin, ", ", end, "] run backwards");
    require(end <= data.size(), "data_offsets [", begin, ", ", end, "] lie outside the ", data.size(),
            " bytes of data; the file is truncated or its header is wrong");
    require(end - begin == expected, "dtype ", *entry.dtype, " and the shape need ", expected,
            " bytes, data_offsets give ", end - begin);
    return {entry.name, type, Shape(entry.shape->begin(), entry.shape->end()), data.subspan(begin, end - begin), &path};
}

// The tensors must cover the data exactly: no two overlap, no byte is left over.
void check_coverage(const std::string& path, const std::vector<SafeTensor>& tensors, std::span<const std::byte> data) {
    const std::byte* covered = data.data();
    for (const SafeTensor& tensor : tensors) {
        STEPD_REQUIRE(tensor.bytes.data() >= covered, Code::invalid, "safetensors file ", path, ": tensor ",
                      printable(tensor.name), " overlaps another tensor");
        STEPD_REQUIRE(tensor.bytes.data() == covered, Code::invalid, "safetensors file ", path, ": ",
                      tensor.bytes.data() - covered, " bytes before tensor ", printable(tensor.name),
                      " belong to no tensor");
        covered += tensor.bytes.size();
    }
    STEPD_REQUIRE(covered == data.data() + data.size(), Code::invalid, "safetensors file ", path, ": the last ",
                  data.data() + data.size() - covered, " bytes belong to no tensor");
}

}  // namespace

std::string printable(std::string_view text) {
    constexpr size_t kLongest = 200;
    std::string out = "\"";
    for (char c : text.substr(0, kLongest)) {
        // A name from a file must not be able to forge lines of a log.
        if (uint8_t(c) < 0x20 || c == 0x7f)
            out += '?';
        else
            out += c;
    }
    return out + (text.size() > kLongest ? "..\"" : "\"");
}

std::vector<SafeTensor> parse_safetensors(const std::string& path, std::span<const std::byte> bytes,
                                          SafeMetadata& metadata) {
    auto require = [&](bool ok, const auto&... args) {
        STEPD_REQUIRE(ok, Code::invalid, "safetensors file ", path, ": ", args...);
    };
    require(bytes.size() >= kLengthBytes, "has ", bytes.size(), " bytes, too few for a header");
    uint64_t length;
    std::memcpy(&length, bytes.data(), kLengthBytes);
    require(length <= kMaxHeader, "the header length ", length, " is over the limit of ", kMaxHeader, " bytes");
    require(length <= bytes.size() - kLengthBytes, "the header length ", length, " exceeds the file of ", bytes.size(),
            " bytes; the file is truncated or not a safetensors file");
    const char* text = reinterpret_cast<const char*>(bytes.data()) + kLengthBytes;
    require(length > 0 && text[0] == '{', "the header does not start with '{'");
    require(std::memchr(text, 0, length) == nullptr, "the header contains a zero byte");

    HeaderHandler handler(path, metadata);
    nlohmann::json::sax_parse(text, text + length, &handler);
    std::span<const std::byte> data = bytes.subspan(kLengthBytes + length);
    std::vector<SafeTensor> tensors;
    tensors.reserve(handler.entries.size());
    for (const Entry& entry : handler.entries) tensors.push_back(make_tensor(path, entry, data));
    std::stable_sort(tensors.begin(), tensors.end(), [](const SafeTensor& a, const SafeTensor& b) {
        return std::pair(a.bytes.data(), a.bytes.size()) < std::pair(b.bytes.data(), b.bytes.size());
    });
    check_coverage(path, tensors, data);
    return tensors;
}

}  // namespace stepd::detail
