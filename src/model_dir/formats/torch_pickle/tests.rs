//! What the reader of pickles accepts, and that nothing makes it run, overflow or panic.

use proptest::prelude::*;

use super::*;

fn refused(bytes: &[u8]) -> String {
    match state_dict(bytes) {
        Err(Fault::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn damaged(bytes: &[u8]) -> String {
    match state_dict(bytes) {
        Err(Fault::Damaged(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// `torch.save({"a": torch.ones(2, 3)})`.
const ONE_TENSOR: &[u8] = b"\x80\x02}q\0X\x01\0\0\0aq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((\
    X\x07\0\0\0storageq\x03ctorch\nFloatStorage\nq\x04X\x01\0\0\x000q\x05X\x03\0\0\0cpuq\x06K\x06tq\x07\
    QK\0K\x02K\x03\x86q\x08K\x03K\x01\x86q\t\x89ccollections\nOrderedDict\nq\n)Rq\x0btq\x0cRq\rs.";

#[test]
fn a_table_of_one_tensor_is_read() {
    let tensors = state_dict(ONE_TENSOR).unwrap();
    let storage = Storage { key: "0", dtype: Dtype::F32, numbers: 6 };
    let tensor = Tensor { storage, offset: 0, shape: vec![2, 3], strides: vec![3, 1] };
    assert_eq!(tensors, HashMap::from([("a", tensor)]));
}

#[test]
fn a_pickle_cut_anywhere_is_damaged() {
    for cut in 0..ONE_TENSOR.len() {
        assert!(matches!(state_dict(&ONE_TENSOR[..cut]), Err(Fault::Damaged(_))), "{cut}");
    }
}

#[test]
fn what_is_no_table_is_refused_with_what_it_is() {
    assert!(refused(b"N.").contains("holds None, not a state dict"));
    assert!(refused(b"X\x01\0\0\0a.").contains("the text \"a\""));
    assert!(refused(b"K\x07.").contains("the number 7"));
    assert!(refused(b"ctorch\nLongStorage\n.").contains("a class"));
    assert_eq!(state_dict(b"}.").unwrap(), HashMap::new());
    assert_eq!(state_dict(b"}X\x01\0\0\0aK\x07s.").unwrap(), HashMap::new());
}

#[test]
fn every_other_instruction_is_refused_by_name() {
    let known = b".cNJKMXqrhj()t}suQRb\x80\x85\x86\x87\x88\x89\x8a\x8c\x93\x94\x95";
    for opcode in (0..=u8::MAX).filter(|opcode| !known.contains(opcode)) {
        let why = refused(&[b"\x80\x02", [opcode].as_slice(), b"abc\n."].concat());
        assert!(why.contains(&format!("byte 2 is the instruction {:?}", char::from(opcode))));
    }
    assert!(refused(b"\x80\x06}.").contains("protocol 6"));
}

#[test]
fn what_does_not_fit_together_is_an_error() {
    assert!(damaged(b".").contains("more values than there are"));
    assert!(damaged(b"}(.").contains("more values than there are"));
    assert!(damaged(b"t.").contains("no mark"));
    assert!(damaged(b"h\x05.").contains("recalls 5"));
    assert!(damaged(b"NNNs.").contains("no dict"));
    assert!(damaged(b"}(Nu.").contains("no dict"));
    assert!(damaged(b"NQ.").contains("name of a storage is None, not a tuple"));
    assert!(damaged(b")Q.").contains("names no storage of torch"));
    assert!(damaged(b"NN\x93.").contains("it names None of None"));
    assert!(damaged(b"X\x02\0\0\0\xff\xfe.").contains("not UTF-8"));
    assert!(damaged(b"X\xff\xff\xff\xff.").contains("before its end mark"));
    assert!(damaged(b"ccollections").contains("before its end mark"));
    assert!(refused(b"N)R.").contains("calls None"));
    assert!(refused(b"ccollections\nOrderedDict\nN\x85R.").contains("with 1 arguments"));
    assert!(refused(b"ctorch._utils\n_rebuild_tensor_v2\n)R.").contains("with 0 arguments"));
    assert!(refused(b"NNb.").contains("sets the state"));
}

#[test]
fn no_pickle_is_too_deep_or_too_high() {
    let within = |opcode: u8| [b"N".as_slice(), &vec![opcode; 1 << 19], b"."].concat();
    assert!(refused(&within(0x85)).contains("a tuple of 1"));
    assert!(damaged(&within(b'N')).contains("stack is higher than 65536"));
    assert!(damaged(&within(b'(')).contains("more than 65536 marks"));
    // A dict in itself.
    assert_eq!(state_dict(b"}q\0X\x01\0\0\0ah\0s.").unwrap(), HashMap::new());
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = state_dict(&bytes);
    }

    #[test]
    fn any_instructions_are_survived(
        bytes in prop::collection::vec(
            prop::sample::select(b".NK\0qh()t}suQRb\x85\x86\x87\x88\x94X\x01\x02".as_slice()),
            0..200,
        ),
    ) {
        let _ = state_dict(&bytes);
    }

    #[test]
    fn a_damaged_table_is_survived(at in 0..ONE_TENSOR.len(), with: Vec<u8>, count in 0..9_usize) {
        let mut bytes = ONE_TENSOR.to_vec();
        bytes.splice(at..bytes.len().min(at + count), with);
        let _ = state_dict(&bytes);
    }
}

#[test]
fn what_is_stored_is_bounded_however_it_is_stored() {
    let many = 1_usize << 20;
    let repeated = |before: &[u8], part: &[u8], after: &[u8]| {
        damaged(&[before, &part.repeat(many / part.len()), after].concat())
    };
    for said in [
        repeated(b"\x80\x02}", b"\x94", b"."),
        repeated(b"\x80\x02N", b"\x85", b"."),
        repeated(b"\x80\x02}", b"}(u", b"."),
        repeated(b"\x80\x02}", b"(NNNNNNNNt", b"."),
    ] {
        assert!(said.contains("values") || said.contains("stack"), "{said}");
    }
    let pairs = [b"(".as_slice(), &b"NN".repeat(500), b"u"].concat();
    let said = repeated(b"\x80\x02}", &pairs.repeat(2), b".");
    assert!(said.contains("more than 786432 values"), "{said}");
    // Sixteen thousand tensors, which is more than there are anywhere.
    let body = &ONE_TENSOR[3..ONE_TENSOR.len() - 1];
    let table = [b"\x80\x02}".as_slice(), &body.repeat(16_000), b"."].concat();
    assert_eq!(state_dict(&table).unwrap().len(), 1);
}
