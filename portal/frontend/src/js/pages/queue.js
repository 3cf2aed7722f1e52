import '../common.js';
import { takeOrder } from '../order.js';

takeOrder();
