MODEL=.cache/models/multilingual-e5-small

bge info $MODEL

printf '%s\n' '"Orang-orang ada di luar."' '"Pria itu berdiri."' | bge encode $MODEL > vectors.jsonl

bge evaluate $MODEL examples/seed-card.jsonl

bge similarity $MODEL 'Seorang pria sedang tidur.' \
    'Manusia ditutupi spons beraneka warna.' \
    'Seorang pria berselimut sedang tertidur di trotoar.'
