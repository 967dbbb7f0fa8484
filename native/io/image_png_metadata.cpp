// The chunks of a PNG file that carry size, orientation and colour profile.
#include <zlib.h>

#include <algorithm>
#include <string_view>

#include "io/image_metadata.h"

namespace stepd::detail {
namespace {

constexpr size_t kMaxInflated = size_t(4) << 20;  // of one compressed text or profile

// zlib data, or nothing when it is damaged or too large.
std::vector<std::byte> inflate_bytes(Bytes compressed) {
    std::vector<std::byte> out(std::min(kMaxInflated, std::max<size_t>(4096, compressed.size() * 8)));
    for (;;) {
        uLongf size = out.size();
        int status = uncompress(reinterpret_cast<Bytef*>(out.data()), &size,
                                reinterpret_cast<const Bytef*>(compressed.data()), compressed.size());
        if (status == Z_OK) {
            out.resize(size);
            return out;
        }
        if (status != Z_BUF_ERROR || out.size() >= kMaxInflated) return {};
        out.resize(std::min(kMaxInflated, out.size() * 4));
    }
}

// Splits off what comes before the next zero byte; false when there is none.
bool split_zero(Bytes& rest, Bytes& head) {
    auto zero = std::find(rest.begin(), rest.end(), std::byte(0));
    if (zero == rest.end()) return false;
    size_t length = size_t(zero - rest.begin());
    head = rest.first(length);
    rest = rest.subspan(length + 1);
    return true;
}

// ImageMagick's form of EXIF in a text chunk: "\nexif\n<length>\n<hexadecimal>".
std::vector<std::byte> parse_raw_profile(Bytes text) {
    std::vector<std::byte> out;
    int lines = 0, digits = 0, value = 0;
    for (std::byte b : text) {
        char c = char(b);
        if (c == '\n') {
            lines++;
            continue;
        }
        if (lines < 3) continue;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) continue;
        value = value << 4 | digit;
        if (++digits % 2 == 0) out.push_back(std::byte(value & 0xff));
    }
    return out;
}

struct TextChunk {
    std::string keyword;
    std::vector<std::byte> text;
};

// tEXt, zTXt or iTXt; an unreadable one gives an empty keyword.
TextChunk read_text(std::string_view type, Bytes payload) {
    Bytes keyword;
    if (!split_zero(payload, keyword)) return {};
    bool compressed = type == "zTXt";
    if (type == "iTXt") {
        if (payload.size() < 2) return {};
        compressed = byte_at(payload, 0) != 0;
        payload = payload.subspan(1);
    }
    if (type != "tEXt") {
        if (payload.empty() || (compressed && byte_at(payload, 0) != 0)) return {};  // compression method
        payload = payload.subspan(1);
    }
    Bytes language, translated;
    if (type == "iTXt" && (!split_zero(payload, language) || !split_zero(payload, translated))) return {};
    TextChunk chunk;
    chunk.keyword.assign(reinterpret_cast<const char*>(keyword.data()), keyword.size());
    chunk.text = compressed ? inflate_bytes(payload) : std::vector<std::byte>(payload.begin(), payload.end());
    return chunk;
}

std::vector<std::byte> read_profile(Bytes payload) {
    Bytes profile_name;
    if (!split_zero(payload, profile_name) || payload.empty() || byte_at(payload, 0) != 0) return {};
    return inflate_bytes(payload.subspan(1));
}

}  // namespace

RawMetadata read_png_metadata(Bytes bytes, const std::string& name) {
    constexpr size_t kSignature = 8, kHead = 8, kChecksum = 4;
    RawMetadata found;
    std::vector<std::byte> raw_profile;
    for (uint64_t at = kSignature; at + kHead + kChecksum <= bytes.size();) {
        uint64_t length = big_u32(bytes, at);
        if (at + kHead + length + kChecksum > bytes.size()) break;
        std::string_view type(reinterpret_cast<const char*>(bytes.data()) + at + 4, 4);
        Bytes payload = bytes.subspan(at + kHead, length);
        at += kHead + length + kChecksum;
        if (type == "IHDR" && length >= 13 && found.width == 0) {
            found.width = big_u32(payload, 0);
            found.height = big_u32(payload, 4);
        } else if (type == "eXIf") {
            found.exif.assign(payload.begin(), payload.end());
        } else if (type == "iCCP") {
            found.icc = read_profile(payload);
        } else if (type == "tEXt" || type == "zTXt" || type == "iTXt") {
            TextChunk chunk = read_text(type, payload);
            if (chunk.keyword == "XML:com.adobe.xmp") found.xmp = std::move(chunk.text);
            if (chunk.keyword == "Raw profile type exif") raw_profile = parse_raw_profile(chunk.text);
        } else if (type == "IEND") {
            break;
        }
    }
    if (found.width == 0) STEPD_IMAGE_ERROR(name, "the PNG header is damaged or the file is truncated");
    if (found.exif.empty()) found.exif = std::move(raw_profile);
    return found;
}

}  // namespace stepd::detail
