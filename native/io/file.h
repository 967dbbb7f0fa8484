// Whole files: read-only mappings, and writes that are either complete on disk or not there at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace stepd {

// A read-only mapping of a whole file. The file must not be truncated or overwritten while it is mapped: files that
// stepd publishes are only ever replaced by rename.
class MappedFile {
public:
    // Fails with not_found or io, naming the path; with invalid when the file is larger than max_bytes.
    explicit MappedFile(const std::string& path, uint64_t max_bytes = UINT64_MAX);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&&) = delete;

    const std::string& path() const { return path_; }
    std::span<const std::byte> bytes() const { return {data_, size_}; }

private:
    std::string path_;
    const std::byte* data_ = nullptr;
    size_t size_ = 0;
};

// A file that appears under its name only when commit() succeeds: it is written beside its destination under a
// temporary name, flushed to disk, renamed, and its folder flushed. Destruction without commit removes the temporary
// file.
class AtomicFile {
public:
    // expected_bytes > 0 reserves the space first, so that a full disk is found before the work is done.
    explicit AtomicFile(const std::string& path, uint64_t expected_bytes = 0);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    void write(std::span<const std::byte> bytes);
    void write(const std::string& text) { write(std::as_bytes(std::span(text))); }
    uint64_t written() const { return written_; }
    void commit();

private:
    void reserve(uint64_t bytes);
    [[noreturn]] void fail(const char* action) const;

    std::string path_, temporary_;
    int fd_ = -1;
    uint64_t written_ = 0;
};

}  // namespace stepd
