import '../common.js';
