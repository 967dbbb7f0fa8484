#include "io/safetensors.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/temporary_folder.h"

namespace stepd {
namespace {

const std::string kTestData = std::string(STEPD_SOURCE_DIR) + "/native/tests/testdata/safetensors/";
const std::string kUnusualName = "na\xc3\xafve \"q\"\n\x7f";

std::string file_of(const std::string& header, size_t data_bytes, uint64_t length = UINT64_MAX) {
    if (length == UINT64_MAX) length = header.size();
    std::string file(8, 0);
    std::memcpy(file.data(), &length, 8);
    return file + header + std::string(data_bytes, '\0');
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
    return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

// Sources that copy the tensors of an open file.
std::vector<SafeTensorSource> sources_of(const SafetensorsReader& reader) {
    std::vector<SafeTensorSource> sources;
    for (const SafeTensor& t : reader.tensors()) {
        sources.push_back({t.name, t.type, t.shape, [bytes = t.bytes](const EmitBytes& emit) {
                               emit(bytes.first(bytes.size() / 2));
                               emit(bytes.subspan(bytes.size() / 2));
                           }});
    }
    return sources;
}

template <class T>
std::vector<T> values(const SafeTensor& t, DType type) {
    std::vector<T> out(size_t(t.elements()));
    convert(t, 0, t.elements(), out.data(), type);
    return out;
}

TEST(Safetensors, ReadsEveryTypeOfTheReferenceWriter) {
    SafetensorsReader file(kTestData + "all_types.safetensors");
    EXPECT_EQ(file.tensors().size(), 13u);
    EXPECT_EQ(file.metadata(), (SafeMetadata{{"format", "pt"}}));
    EXPECT_EQ(file.at("w.f32").shape, (Shape{3, 5}));
    EXPECT_EQ(file.at("empty").elements(), 0);
    EXPECT_EQ(file.at("scalar").shape, Shape{});
    EXPECT_EQ(values<float>(file.at("scalar"), DType::f32), std::vector<float>{2.5f});
    EXPECT_EQ(values<float>(file.at("i16"), DType::f32), (std::vector<float>{300, -300}));
    EXPECT_EQ(values<int32_t>(file.at("i8"), DType::i32), (std::vector<int32_t>{-128, 127, 3}));
    EXPECT_EQ(values<int32_t>(file.at("u8"), DType::i32), (std::vector<int32_t>{0, 255}));
    EXPECT_EQ(values<int32_t>(file.at("bool"), DType::i32), (std::vector<int32_t>{1, 0, 1}));
    EXPECT_EQ(values<float>(file.at("i64"), DType::f32), (std::vector<float>{1, -2, 0x1p40f}));
    EXPECT_EQ(values<float>(file.at(kUnusualName), DType::f32), std::vector<float>{1});
    EXPECT_EQ(file.find("absent"), nullptr);
    EXPECT_THROW(file.at("absent"), Error);
}

TEST(Safetensors, ConvertsBetweenTypes) {
    SafetensorsReader file(kTestData + "all_types.safetensors");
    std::vector<float> f32 = values<float>(file.at("w.f32"), DType::f32);
    std::vector<bf16> rounded = values<bf16>(file.at("w.f32"), DType::bf16);
    for (size_t i = 0; i < f32.size(); i++) EXPECT_EQ(rounded[i].bits, to_bf16(f32[i]).bits);
    EXPECT_THROW(values<int32_t>(file.at("w.f32"), DType::i32), Error);
    EXPECT_THROW(values<int32_t>(file.at("i64"), DType::i32), Error);  // 2^40
    std::vector<float> part(2);
    convert(file.at("w.f32"), 4, 2, part.data(), DType::f32);
    EXPECT_EQ(part, (std::vector<float>{f32[4], f32[5]}));
    EXPECT_THROW(convert(file.at("w.f32"), 14, 2, part.data(), DType::f32), Error);
    EXPECT_THROW(convert(file.at("w.f32"), Tensor{f32.data(), DType::f32, {5, 3}}), Error);
}

TEST(Safetensors, HalfConversionIsExactForAllValues) {
    std::string bytes(65536 * 2, 0);
    for (int i = 0; i < 65536; i++) {
        uint16_t h = uint16_t(i);
        std::memcpy(&bytes[size_t(i) * 2], &h, 2);
    }
    std::string path = "memory";
    SafeTensor halves{"h", SafeType::f16, {65536}, std::as_bytes(std::span(bytes)), &path};
    std::vector<float> out = values<float>(halves, DType::f32);
    for (int i = 0; i < 65536; i++) {
        int exponent = i >> 10 & 31, fraction = i & 1023;
        float expected =
            exponent == 0 ? std::ldexp(float(fraction), -24) : std::ldexp(float(1024 + fraction), exponent - 25);
        if (exponent == 31) expected = fraction ? NAN : INFINITY;
        if (i & 0x8000) expected = -expected;
        if (std::isnan(expected))
            EXPECT_TRUE(std::isnan(out[size_t(i)])) << i;
        else
            EXPECT_EQ(std::bit_cast<uint32_t>(out[size_t(i)]), std::bit_cast<uint32_t>(expected)) << i;
    }
}

TEST(Safetensors, WritesTheBytesOfTheReferenceWriter) {
    TemporaryFolder folder;
    SafetensorsReader file(kTestData + "all_types.safetensors");
    std::vector<SafeTensorSource> sources = sources_of(file);
    std::reverse(sources.begin(), sources.end());
    write_safetensors(folder / "copy.safetensors", sources);
    EXPECT_EQ(read_file(folder / "copy.safetensors"), read_file(kTestData + "all_types.safetensors"));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);  // no temporary file is left
}

TEST(Safetensors, WritesShardsAsDiffusersDoes) {
    TemporaryFolder folder;
    SafetensorsReader file(kTestData + "sharded");
    std::map<std::string, SafeTensorSource> by_name;
    for (SafeTensorSource& source : sources_of(file)) by_name[source.name] = source;
    std::vector<SafeTensorSource> ordered;
    for (const std::string name : nlohmann::json::parse(read_file(kTestData + "sharded/order.json"))) {
        ordered.push_back(by_name.at(name));
    }
    std::vector<std::string> names =
        write_sharded_safetensors(folder.path().string(), "diffusion_pytorch_model", ordered, 150);
    ASSERT_EQ(names.size(), 7u);
    EXPECT_EQ(names.back(), "diffusion_pytorch_model.safetensors.index.json");
    for (const std::string& name : names)
        EXPECT_EQ(read_file(folder / name), read_file(kTestData + "sharded/" + name)) << name;

    names = write_sharded_safetensors(folder.path().string(), "model", ordered, 1 << 20);
    EXPECT_EQ(names, std::vector<std::string>{"model.safetensors"});
}

TEST(Safetensors, WritesConvertedTensors) {
    TemporaryFolder folder;
    std::vector<float> weights(600001);  // more than one chunk
    for (size_t i = 0; i < weights.size(); i++) weights[i] = float(i) * 0.37f - 1000;
    std::vector<bf16> small = {to_bf16(1.5f), to_bf16(-2)};
    std::vector<int32_t> ids = {1, -7};
    Tensor w{weights.data(), DType::f32, {600001}}, s{small.data(), DType::bf16, {2}},
        n{ids.data(), DType::i32, {2, 1}};
    write_safetensors(folder / "a.safetensors", {source_of("w", w, SafeType::bf16), source_of("s", s, SafeType::f32),
                                                 source_of("n", n, SafeType::i32)});
    SafetensorsReader file(folder / "a.safetensors");
    std::vector<bf16> read = values<bf16>(file.at("w"), DType::bf16);
    for (size_t i = 0; i < weights.size(); i++) ASSERT_EQ(read[i].bits, to_bf16(weights[i]).bits) << i;
    EXPECT_EQ(values<float>(file.at("s"), DType::f32), (std::vector<float>{1.5f, -2}));
    EXPECT_EQ(values<int32_t>(file.at("n"), DType::i32), ids);
    EXPECT_THROW(source_of("w", w, SafeType::i64), Error);
    EXPECT_THROW(source_of("n", n, SafeType::f32), Error);
}

TEST(Safetensors, WriterLeavesNothingBehindWhenItFails) {
    TemporaryFolder folder;
    auto produce = [](const EmitBytes& emit) { emit(std::as_bytes(std::span("12"))); };  // 3 bytes instead of 8
    SafeTensorSource wrong{"w", SafeType::f32, {2}, produce};
    EXPECT_THROW(write_safetensors(folder / "a.safetensors", {wrong}), Error);
    EXPECT_THROW(write_safetensors(folder / "absent/a.safetensors", {}), Error);
    EXPECT_THROW(write_safetensors(folder / "a.safetensors", {wrong, wrong}), Error);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

struct HostileFile {
    const char* label;
    std::string bytes;
    const char* named = "";  // must appear in the message beside the path
};

std::vector<HostileFile> hostile_files() {
    std::string f32_2 = tensor("x", "F32", "[2]", "[0,8]");
    return {
        {"empty file", ""},
        {"seven bytes", "1234567"},
        {"only a length", std::string(8, '\0')},
        {"length over the cap", file_of("{}", 0, 100'000'001), "100000001"},
        {"length of 2^64 - 1", file_of("{}", 0, UINT64_MAX - 1)},
        {"length past the end", file_of("{}", 0, 3)},
        {"not JSON", file_of("{nonsense", 0)},
        {"an array", file_of("[]", 0)},
        {"leading space", file_of(" {}", 0)},
        {"byte order mark", file_of("\xef\xbb\xbf{}", 0)},
        {"trailing bracket", file_of("{}}", 0)},
        {"trailing zero bytes", file_of(std::string("{}\0\0", 4), 0)},
        {"zero byte inside", file_of(std::string("{\"a\0\":{}}", 9), 0)},
        {"not UTF-8", file_of("{" + tensor("\xff\xfe", "F32", "[2]", "[0,8]") + "}", 8)},
        {"deep nesting", file_of("{\"x\":" + std::string(200000, '[') + "}", 0)},
        {"deep objects", file_of("{\"x\":{\"dtype\":{\"y\":{}}}}", 0), "\"x\""},
        {"a tensor that is a number", file_of("{\"x\":5}", 0)},
        {"a tensor that is null", file_of("{\"x\":null}", 0)},
        {"a tensor that is an array", file_of("{\"x\":[]}", 0)},
        {"no dtype", file_of("{\"x\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8), "dtype"},
        {"no shape", file_of("{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8), "shape"},
        {"no offsets", file_of("{\"x\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8), "data_offsets"},
        {"unknown field", file_of("{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"z\":\"1\"}}", 8),
         "\"z\""},
        {"unknown array field", file_of("{\"x\":{\"dtype\":\"F32\",\"stride\":[2],\"data_offsets\":[0,8]}}", 8),
         "stride"},
        {"dtype twice",
         file_of("{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8)},
        {"shape twice", file_of("{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,8]}}", 8)},
        {"unknown dtype", file_of("{" + tensor("x", "F8_E4M3", "[8]", "[0,8]") + "}", 8), "F8_E4M3"},
        {"dtype in lower case", file_of("{" + tensor("x", "f32", "[2]", "[0,8]") + "}", 8)},
        {"dtype a number", file_of("{\"x\":{\"dtype\":1,\"shape\":[2],\"data_offsets\":[0,8]}}", 8)},
        {"negative extent", file_of("{" + tensor("x", "F32", "[-2]", "[0,8]") + "}", 8)},
        {"fractional extent", file_of("{" + tensor("x", "F32", "[2.0]", "[0,8]") + "}", 8)},
        {"extent beyond 64 bits", file_of("{" + tensor("x", "F32", "[18446744073709551616]", "[0,8]") + "}", 8)},
        {"size overflow", file_of("{" + tensor("x", "F32", "[4611686018427387904,4]", "[0,0]") + "}", 0), "overflow"},
        {"size overflow to the right size",
         file_of("{" + tensor("x", "U8", "[4294967296,4294967296]", "[0,0]") + "}", 0)},
        {"huge extent hidden by zero", file_of("{" + tensor("x", "U8", "[0,18446744073709551615]", "[0,0]") + "}", 0)},
        {"nested shape", file_of("{" + tensor("x", "F32", "[[2]]", "[0,8]") + "}", 8)},
        {"shape of strings", file_of("{" + tensor("x", "F32", "[\"2\"]", "[0,8]") + "}", 8)},
        {"one offset", file_of("{" + tensor("x", "F32", "[2]", "[8]") + "}", 8)},
        {"three offsets", file_of("{" + tensor("x", "F32", "[2]", "[0,8,8]") + "}", 8)},
        {"offsets backwards", file_of("{" + tensor("x", "F32", "[2]", "[8,0]") + "}", 8), "\"x\""},
        {"offsets past the end", file_of("{" + tensor("x", "F32", "[2]", "[0,8]") + "}", 7), "\"x\""},
        {"offsets near 2^64",
         file_of("{" + tensor("x", "F32", "[2]", "[18446744073709551608,18446744073709551615]") + "}", 8)},
        {"too many bytes for the shape", file_of("{" + tensor("x", "F32", "[2]", "[0,12]") + "}", 12), "\"x\""},
        {"too few bytes for the shape", file_of("{" + tensor("x", "I64", "[2]", "[0,8]") + "}", 8), "\"x\""},
        {"duplicate tensor", file_of("{" + f32_2 + "," + tensor("x", "F32", "[2]", "[8,16]") + "}", 16), "\"x\""},
        {"overlap", file_of("{" + f32_2 + "," + tensor("y", "F32", "[2]", "[4,12]") + "}", 12), "\"y\""},
        {"same bytes twice", file_of("{" + f32_2 + "," + tensor("y", "F32", "[2]", "[0,8]") + "}", 8), "overlaps"},
        {"hole", file_of("{" + f32_2 + "," + tensor("y", "F32", "[2]", "[12,20]") + "}", 20), "\"y\""},
        {"bytes before the first", file_of("{" + tensor("x", "F32", "[2]", "[4,12]") + "}", 12)},
        {"bytes after the last", file_of("{" + f32_2 + "}", 9)},
        {"data without tensors", file_of("{}", 1)},
        {"metadata number", file_of("{\"__metadata__\":{\"a\":1}}", 0), "\"a\""},
        {"metadata object", file_of("{\"__metadata__\":{\"a\":{}}}", 0)},
        {"metadata array", file_of("{\"__metadata__\":{\"a\":[]}}", 0)},
        {"metadata not an object", file_of("{\"__metadata__\":\"a\"}", 0)},
        {"metadata twice", file_of("{\"__metadata__\":{},\"__metadata__\":{}}", 0)},
        {"metadata key twice", file_of("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0), "\"a\""},
    };
}

TEST(Safetensors, RefusesHostileFiles) {
    TemporaryFolder folder;
    std::string path = folder / "model.safetensors";
    for (const HostileFile& hostile : hostile_files()) {
        write_file(path, hostile.bytes);
        try {
            SafetensorsReader reader(path);
            ADD_FAILURE() << hostile.label << " was accepted";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), Code::invalid) << hostile.label;
            std::string message = error.what();
            EXPECT_NE(message.find(path), message.npos) << hostile.label << ": " << message;
            EXPECT_NE(message.find(hostile.named), message.npos) << hostile.label << ": " << message;
        }
    }
}

TEST(Safetensors, NamesInMessagesAreMadeHarmless) {
    EXPECT_EQ(detail::printable("a\nb\x7f"), "\"a?b?\"");
    EXPECT_EQ(detail::printable("caf\xc3\xa9"), "\"caf\xc3\xa9\"");
    EXPECT_EQ(detail::printable(std::string(5000, 'x')), "\"" + std::string(200, 'x') + "..\"");
}

TEST(Safetensors, AcceptsUnusualButValidFiles) {
    TemporaryFolder folder;
    std::string path = folder / "model.safetensors";
    write_file(path, file_of("{}", 0));
    EXPECT_TRUE(SafetensorsReader(path).tensors().empty());
    // Unpadded header, so the floats are unaligned; tensors out of order; an empty tensor between them.
    std::string header = "{" + tensor("b", "F32", "[1]", "[4,8]") + "," + tensor("a", "F32", "[1]", "[0,4]") + "," +
                         tensor("none", "F32", "[0,3]", "[4,4]") + "}";
    if (header.size() % 4 == 0) header += ' ';
    write_file(path, file_of(header, 8));
    SafetensorsReader reader(path);
    EXPECT_EQ(values<float>(reader.at("b"), DType::f32), std::vector<float>{0});
    EXPECT_EQ(reader.tensors()[0].name, "a");
}

TEST(Safetensors, EveryTruncationAndManyBitFlipsAreSafe) {
    std::string whole = read_file(kTestData + "all_types.safetensors"), path = "flipped";
    uint32_t state = 1;
    for (size_t length = 0; length < whole.size(); length++) {
        SafeMetadata metadata;
        auto bytes = std::as_bytes(std::span(whole.data(), length));
        EXPECT_THROW(detail::parse_safetensors(path, bytes, metadata), Error) << length;
    }
    for (int i = 0; i < 4000; i++) {
        std::string copy = whole;
        for (int flips = 0; flips < 1 + i % 3; flips++) {
            state = state * 1664525 + 1013904223;
            copy[(state >> 8) % (copy.size() - 60)] ^= char(1 << (state >> 5 & 7));
        }
        SafeMetadata metadata;
        try {
            for (const SafeTensor& t : detail::parse_safetensors(path, std::as_bytes(std::span(copy)), metadata)) {
                EXPECT_EQ(t.bytes.size(), size_t(t.elements()) * size_of(t.type));
                values<float>(t, DType::f32);
            }
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), Code::invalid);
        }
    }
}

TEST(Safetensors, ShardedFoldersAreChecked) {
    TemporaryFolder folder;
    auto copy = [&] {
        using Options = std::filesystem::copy_options;
        std::filesystem::copy(kTestData + "sharded", folder.path(), Options::recursive | Options::overwrite_existing);
    };
    auto expect_error = [&](Code code, const char* named) {
        try {
            SafetensorsReader reader(folder.path().string());
            ADD_FAILURE() << "accepted, expected an error about " << named;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), code) << error.what();
            EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
        }
    };
    const std::string index = folder / "diffusion_pytorch_model.safetensors.index.json";
    auto edit = [&](const std::string& from, const std::string& to) {
        std::string text = read_file(index);
        ASSERT_NE(text.find(from), text.npos);
        write_file(index, text.replace(text.find(from), from.size(), to));
    };
    copy();
    EXPECT_EQ(SafetensorsReader(folder.path().string()).tensors().size(), 8u);
    EXPECT_EQ(SafetensorsReader(index).tensors().size(), 8u);

    edit("\"bias\"", "\"bios\"");
    expect_error(Code::invalid, "\"bias\"");
    copy();
    edit("diffusion_pytorch_model-00001-of", "../diffusion_pytorch_model-00001-of");
    expect_error(Code::invalid, "same folder");
    copy();
    std::filesystem::remove(folder / "diffusion_pytorch_model-00002-of-00006.safetensors");
    expect_error(Code::not_found, "00002");
    write_file(index, "{\"weight_map\": []}");
    expect_error(Code::invalid, "weight_map");
    write_file(index, "{\"weight_map\": {}}");
    expect_error(Code::invalid, "empty");
}

TEST(Safetensors, ChoosesTheFileOfAFolder) {
    TemporaryFolder folder;
    auto choose = [&] { return *SafetensorsReader(folder.path().string()).tensors().at(0).file; };
    EXPECT_THROW(choose(), Error);
    std::string file = read_file(kTestData + "all_types.safetensors");
    write_file(folder / "lora.safetensors", file);
    EXPECT_EQ(choose(), folder / "lora.safetensors");
    write_file(folder / "other.safetensors", file);
    EXPECT_THROW(choose(), Error);  // ambiguous
    write_file(folder / "model.safetensors", file);
    EXPECT_EQ(choose(), folder / "model.safetensors");
    EXPECT_THROW(SafetensorsReader(folder / "absent.safetensors"), Error);
}

}  // namespace
}  // namespace stepd
