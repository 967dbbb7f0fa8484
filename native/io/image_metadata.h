// What is known about a picture from its headers.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "io/image.h"

// Throws the error of a picture that cannot be used.
#define STEPD_IMAGE_ERROR(name, ...) STEPD_THROW(::stepd::Code::invalid, "image ", name, ": ", __VA_ARGS__)

namespace stepd::detail {

using Bytes = std::span<const std::byte>;

struct ImageMetadata {
    ImageFormat format = ImageFormat::jpeg;
    uint32_t width = 0;  // as stored, before orientation
    uint32_t height = 0;
    int orientation = 1;         // EXIF 1..8
    std::vector<std::byte> icc;  // empty when there is no profile
};

// Reads the headers of a JPEG, PNG or WebP file. `name` stands for the file in messages.
ImageMetadata read_image_metadata(Bytes bytes, const std::string& name);

// Metadata blocks as the formats store them, before they are understood.
struct RawMetadata {
    uint32_t width = 0, height = 0;
    std::vector<std::byte> exif, xmp, icc;
};
RawMetadata read_jpeg_metadata(Bytes bytes, const std::string& name);
RawMetadata read_png_metadata(Bytes bytes, const std::string& name);
RawMetadata read_webp_metadata(Bytes bytes, const std::string& name);

// The orientation tag of a TIFF block, with or without the "Exif\0\0" prefix. Empty when there is none; 1 when its
// value has a type that Pillow does not compare with numbers.
std::optional<int> exif_orientation(Bytes exif);
std::optional<int> xmp_orientation(Bytes xmp);

// Decoders of one format: stored orientation, RGB. Width and height have been checked against the limits.
Image decode_jpeg(Bytes bytes, const ImageMetadata& metadata, const std::string& name);
Image decode_png(Bytes bytes, const ImageMetadata& metadata, const std::string& name);
Image decode_webp(Bytes bytes, const ImageMetadata& metadata, const std::string& name);

inline bool starts_with(Bytes bytes, std::string_view text) {
    return bytes.size() >= text.size() &&
           std::string_view(reinterpret_cast<const char*>(bytes.data()), text.size()) == text;
}
inline uint32_t byte_at(Bytes bytes, size_t i) { return std::to_integer<uint32_t>(bytes[i]); }
inline uint32_t big_u16(Bytes b, size_t i) { return byte_at(b, i) << 8 | byte_at(b, i + 1); }
inline uint32_t big_u32(Bytes b, size_t i) { return big_u16(b, i) << 16 | big_u16(b, i + 2); }
inline uint32_t little_u16(Bytes b, size_t i) { return byte_at(b, i) | byte_at(b, i + 1) << 8; }
inline uint32_t little_u32(Bytes b, size_t i) { return little_u16(b, i) | little_u16(b, i + 2) << 16; }

}  // namespace stepd::detail
