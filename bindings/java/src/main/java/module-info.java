/** Text embeddings of BAAI/bge-m3 and its fine-tunes, in process. */
module dev.libbge {
    exports dev.libbge;
}
