package tokenize

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// sentencePieceModel is what a T5 tokenizer needs of a spiece.model file, a
// protocol buffer of type sentencepiece.ModelProto.
type sentencePieceModel struct {
	pieces   []piece
	literal  []string // control and user-defined pieces: matched literally in the text
	charsmap []byte   // nil: none
}

// Field numbers of sentencepiece_model.proto.
const (
	modelPieces         = 1
	modelTrainerSpec    = 2
	modelNormalizerSpec = 3

	pieceText  = 1
	pieceScore = 2
	pieceType  = 3

	trainerModelType   = 3
	normalizerCharsmap = 2
)

// Values of the piece and model types.
const (
	pieceTypeControl     = 3
	pieceTypeUserDefined = 4
	modelTypeUnigram     = 1
)

func parseSentencePiece(data []byte) (*sentencePieceModel, error) {
	m := &sentencePieceModel{}
	err := eachField(data, func(f field) error {
		switch f.number {
		case modelPieces:
			return m.addPiece(f.bytes)
		case modelTrainerSpec:
			return eachField(f.bytes, func(f field) error {
				if f.number == trainerModelType && f.value != modelTypeUnigram {
					return fmt.Errorf("model type is %d, a T5 tokenizer has %d (Unigram)", f.value, modelTypeUnigram)
				}
				return nil
			})
		case modelNormalizerSpec:
			return eachField(f.bytes, func(f field) error {
				if f.number == normalizerCharsmap && len(f.bytes) > 0 {
					m.charsmap = f.bytes
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(m.pieces) == 0 {
		return nil, errors.New("holds no pieces")
	}
	return m, nil
}

func (m *sentencePieceModel) addPiece(data []byte) error {
	var p piece
	var kind uint64
	err := eachField(data, func(f field) error {
		switch f.number {
		case pieceText:
			p.text = string(f.bytes)
		case pieceScore:
			p.score = float64(math.Float32frombits(uint32(f.value)))
		case pieceType:
			kind = f.value
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("piece %d: %w", len(m.pieces), err)
	}
	m.pieces = append(m.pieces, p)
	if kind == pieceTypeControl || kind == pieceTypeUserDefined {
		m.literal = append(m.literal, p.text)
	}
	return nil
}

// field is a field of a protocol buffer message: bytes is set for
// length-delimited fields, value for all others.
type field struct {
	number uint64
	value  uint64
	bytes  []byte
}

var errTruncated = errors.New("protocol buffer is cut short")

// eachField calls visit for every field of a message, in order.
func eachField(message []byte, visit func(field) error) error {
	for len(message) > 0 {
		f, rest, err := nextField(message)
		if err != nil {
			return err
		}
		message = rest
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

func nextField(message []byte) (f field, rest []byte, err error) {
	tag, n := binary.Uvarint(message)
	if n <= 0 {
		return field{}, nil, errTruncated
	}
	message = message[n:]
	f.number = tag >> 3
	switch wireType := tag & 7; wireType {
	case 0: // varint
		if f.value, n = binary.Uvarint(message); n <= 0 {
			return field{}, nil, errTruncated
		}
		return f, message[n:], nil
	case 1: // 64 bit
		if len(message) < 8 {
			return field{}, nil, errTruncated
		}
		f.value = binary.LittleEndian.Uint64(message)
		return f, message[8:], nil
	case 2: // length-delimited
		size, n := binary.Uvarint(message)
		if n <= 0 || size > uint64(len(message)-n) {
			return field{}, nil, errTruncated
		}
		message = message[n:]
		f.bytes = message[:size]
		return f, message[size:], nil
	case 5: // 32 bit
		if len(message) < 4 {
			return field{}, nil, errTruncated
		}
		f.value = uint64(binary.LittleEndian.Uint32(message))
		return f, message[4:], nil
	default:
		return field{}, nil, fmt.Errorf("protocol buffer has unknown wire type %d", wireType)
	}
}
