import '../common.js';
import { takeOrder } from '../order.js';
import { takeSelection } from '../selection.js';

takeOrder();
takeSelection();
