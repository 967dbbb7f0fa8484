#include "io/image_metadata.h"

#include <algorithm>
#include <map>

namespace stepd::detail {
namespace {

std::string_view as_text(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// Bytes of one value of a TIFF field type, 0 for types that are not known.
uint32_t tiff_type_bytes(uint32_t type) {
    static constexpr uint32_t sizes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8};
    return type < std::size(sizes) ? sizes[type] : 0;
}

// The number in a field, for the integer types that can hold an orientation.
std::optional<int> tiff_integer(Bytes value, uint32_t type, bool big) {
    constexpr uint32_t kShort = 3, kLong = 4, kSignedByte = 6, kSignedShort = 8, kSignedLong = 9, kIfd = 13;
    if (type == kSignedByte) return int(byte_at(value, 0));
    if (type == kShort || type == kSignedShort) return int(big ? big_u16(value, 0) : little_u16(value, 0));
    if (type == kLong || type == kSignedLong || type == kIfd) {
        uint32_t number = big ? big_u32(value, 0) : little_u32(value, 0);
        return number <= 8 ? int(number) : 0;
    }
    return {};
}

}  // namespace

std::optional<int> exif_orientation(Bytes exif) {
    constexpr uint32_t kOrientation = 0x0112;
    constexpr size_t kEntryBytes = 12, kInlineBytes = 4;
    for (int i = 0; i < 2 && starts_with(exif, std::string_view("Exif\0\0", 6)); i++) exif = exif.subspan(6);
    bool big = starts_with(exif, std::string_view("MM\0*", 4));
    if (exif.size() < 8 || (!big && !starts_with(exif, std::string_view("II*\0", 4)))) return {};
    auto u16 = [&](size_t at) { return big ? big_u16(exif, at) : little_u16(exif, at); };
    auto u32 = [&](size_t at) { return big ? big_u32(exif, at) : little_u32(exif, at); };

    uint64_t at = u32(4);
    if (at + 2 > exif.size()) return {};
    uint32_t entries = u16(at);
    at += 2;
    uint64_t outside = 0;  // bytes of values stored outside the entries, as far as the file claims
    for (uint32_t i = 0; i < entries && at + kEntryBytes <= exif.size(); i++, at += kEntryBytes) {
        uint32_t tag = u16(at), type = u16(at + 2);
        uint64_t bytes = uint64_t(u32(at + 4)) * tiff_type_bytes(type);
        if (bytes == 0) continue;
        uint64_t place = at + 8;
        if (bytes > kInlineBytes) {
            // A value that claims more than the file holds is skipped; one that lies past its end stops the reader.
            outside += bytes;
            if (outside > exif.size()) continue;
            place = u32(at + 8);
            if (place + bytes > exif.size()) return {};
        }
        if (tag == kOrientation) return tiff_integer(exif.subspan(place, bytes), type, big).value_or(1);
    }
    return {};
}

std::optional<int> xmp_orientation(Bytes xmp) {
    constexpr std::string_view key = "tiff:Orientation";
    std::string_view text = as_text(xmp);
    for (size_t at = text.find(key); at != text.npos; at = text.find(key, at + 1)) {
        std::string_view rest = text.substr(at + key.size());
        size_t skip = rest.starts_with("=\"") ? 2 : rest.starts_with(">") ? 1 : 0;
        if (skip && rest.size() > skip && rest[skip] >= '0' && rest[skip] <= '9') return rest[skip] - '0';
    }
    return {};
}

RawMetadata read_jpeg_metadata(Bytes bytes, const std::string& name) {
    RawMetadata found;
    std::map<uint32_t, Bytes> profile;  // ICC pieces by sequence number
    uint32_t profile_pieces = 0;
    size_t at = 2;
    for (;;) {
        while (at < bytes.size() && byte_at(bytes, at) != 0xff) at++;
        while (at < bytes.size() && byte_at(bytes, at) == 0xff) at++;
        if (at >= bytes.size()) STEPD_IMAGE_ERROR(name, "the file ends before the image data");
        uint32_t marker = byte_at(bytes, at++);
        bool no_payload =
            marker == 0 || marker == 0xc8 || (marker >= 0xd0 && marker <= 0xd9) || (marker >= 0xf0 && marker <= 0xfd);
        if (no_payload) continue;
        if (marker < 0xc0) STEPD_IMAGE_ERROR(name, "marker 0x", std::hex, marker, " is not a JPEG marker");
        if (at + 2 > bytes.size()) STEPD_IMAGE_ERROR(name, "the file ends inside a JPEG header");
        uint32_t length = big_u16(bytes, at);
        if (length < 2 || at + length > bytes.size()) STEPD_IMAGE_ERROR(name, "the file ends inside a JPEG header");
        Bytes payload = bytes.subspan(at + 2, length - 2);
        at += length;

        bool frame = (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xcc) || marker == 0xde;
        if (marker == 0xda) break;  // start of scan: image data follows
        if (frame) {
            if (payload.size() < 6) STEPD_IMAGE_ERROR(name, "the JPEG frame header is too short");
            found.height = big_u16(payload, 1);
            found.width = big_u16(payload, 3);
        } else if (marker == 0xe1 && starts_with(payload, std::string_view("Exif\0\0", 6))) {
            Bytes piece = payload.subspan(found.exif.empty() ? 0 : 6);
            found.exif.insert(found.exif.end(), piece.begin(), piece.end());
        } else if (marker == 0xe1 && starts_with(payload, std::string_view("http://ns.adobe.com/xap/1.0/\0", 29))) {
            found.xmp.assign(payload.begin() + 29, payload.end());
        } else if (marker == 0xe2 && payload.size() > 14 &&
                   starts_with(payload, std::string_view("ICC_PROFILE\0", 12))) {
            profile[byte_at(payload, 12)] = payload.subspan(14);
            profile_pieces = byte_at(payload, 13);
        }
    }
    if (profile.size() == profile_pieces) {
        for (const auto& [number, piece] : profile) found.icc.insert(found.icc.end(), piece.begin(), piece.end());
    }
    return found;
}

RawMetadata read_webp_metadata(Bytes bytes, const std::string& name) {
    RawMetadata found;
    auto require = [&](size_t size) {
        if (bytes.size() < size) STEPD_IMAGE_ERROR(name, "the file ends inside the WebP header");
    };
    require(16);
    Bytes kind = bytes.subspan(12, 4);
    if (starts_with(kind, "VP8 ")) {
        require(30);
        found.width = little_u16(bytes, 26) & 0x3fff;
        found.height = little_u16(bytes, 28) & 0x3fff;
    } else if (starts_with(kind, "VP8L")) {
        require(25);
        uint32_t bits = little_u32(bytes, 21);
        found.width = (bits & 0x3fff) + 1;
        found.height = (bits >> 14 & 0x3fff) + 1;
    } else if (starts_with(kind, "VP8X")) {
        require(30);
        found.width = (little_u16(bytes, 24) | byte_at(bytes, 26) << 16) + 1;
        found.height = (little_u16(bytes, 27) | byte_at(bytes, 29) << 16) + 1;
    } else {
        STEPD_IMAGE_ERROR(name, "is not a WebP file with VP8 data");
    }
    if (!starts_with(kind, "VP8X")) return found;

    // Chunks that the header's flags do not announce are ignored, as libwebp does.
    uint32_t flags = byte_at(bytes, 20);
    struct Block {
        const char* fourcc;
        uint32_t flag;
        std::vector<std::byte>& into;
    } blocks[] = {{"ICCP", 0x20, found.icc}, {"EXIF", 0x08, found.exif}, {"XMP ", 0x04, found.xmp}};
    for (uint64_t at = 12; at + 8 <= bytes.size();) {
        uint64_t size = little_u32(bytes, at + 4);
        if (at + 8 + size > bytes.size()) break;
        Bytes payload = bytes.subspan(at + 8, size);
        for (Block& block : blocks) {
            if (!(flags & block.flag) || !block.into.empty() || !starts_with(bytes.subspan(at), block.fourcc)) continue;
            block.into.assign(payload.begin(), payload.end());
        }
        at += 8 + size + (size & 1);
    }
    return found;
}

ImageMetadata read_image_metadata(Bytes bytes, const std::string& name) {
    if (bytes.empty()) STEPD_IMAGE_ERROR(name, "the file is empty");
    ImageMetadata metadata;
    RawMetadata raw;
    if (starts_with(bytes, "\xff\xd8\xff")) {
        metadata.format = ImageFormat::jpeg;
        raw = read_jpeg_metadata(bytes, name);
    } else if (starts_with(bytes, "\x89PNG\r\n\x1a\n")) {
        metadata.format = ImageFormat::png;
        raw = read_png_metadata(bytes, name);
    } else if (starts_with(bytes, "RIFF") && bytes.size() >= 12 && starts_with(bytes.subspan(8), "WEBP")) {
        metadata.format = ImageFormat::webp;
        raw = read_webp_metadata(bytes, name);
    } else {
        STEPD_THROW(Code::unsupported, "image ", name, ": is not a JPEG, PNG or WebP file; convert it to one of these");
    }
    if (raw.width == 0 || raw.height == 0) STEPD_IMAGE_ERROR(name, "the header gives no size");
    metadata.width = raw.width;
    metadata.height = raw.height;
    std::optional<int> orientation = exif_orientation(raw.exif);
    if (!orientation) orientation = xmp_orientation(raw.xmp);
    metadata.orientation = orientation && *orientation >= 1 && *orientation <= 8 ? *orientation : 1;
    metadata.icc = std::move(raw.icc);
    return metadata;
}

}  // namespace stepd::detail
